package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestFigureLine(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    figure
		want string
	}{
		{"within its goal", figure{"pick-up p50", 2.94, "ms", 10}, "pick-up p50\t2.9\tms\t<= 10\tok"},
		{"just at it", figure{"tax p50", 100, "ms", 100}, "tax p50\t100\tms\t<= 100\tok"},
		{"short by less than is shown", figure{"tax p50", 100.04, "ms", 100}, "tax p50\t100\tms\t<= 100\tshort"},
		{"without a goal", figure{"history", 311, "events", 0}, "history\t311\tevents\t-\tok"},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, tc.f.String()) })
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i) // 1 to 100, unsorted
	}
	for _, tc := range []struct {
		name   string
		values []time.Duration
		p      float64
		want   time.Duration
	}{
		{"median of a hundred", hundred, 50, 50},
		{"99th of a hundred", hundred, 99, 99},
		{"largest", hundred, 100, 100},
		{"99th of few is the largest", []time.Duration{3, 1, 2}, 99, 3},
		{"of one", []time.Duration{7}, 50, 7},
		{"of none", nil, 50, 0},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.want, percentile(tc.values, tc.p)) })
	}
	assert.Equal(t, time.Duration(100), hundred[0], "the values are left in their order")
}
