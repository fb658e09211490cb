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
		{"within its goal", figure{name: "pick-up p50", value: 2.94, unit: "ms", most: 10}, "pick-up p50\t2.9\tms\t<= 10\tok"},
		{"just at it", figure{name: "tax p50", value: 100, unit: "ms", most: 100}, "tax p50\t100\tms\t<= 100\tok"},
		{"short by less than is shown", figure{name: "tax p50", value: 100.04, unit: "ms", most: 100}, "tax p50\t100\tms\t<= 100\tshort"},
		{"as much as it should be", figure{name: "card time used", value: 97, unit: "%", least: 97}, "card time used\t97\t%\t>= 97\tok"},
		{"less than it should be", figure{name: "card time used", value: 96.96, unit: "%", least: 97}, "card time used\t97\t%\t>= 97\tshort"},
		{"none, as it should be", figure{name: "wrong placements", unit: "jobs", none: true}, "wrong placements\t0\tjobs\t0\tok"},
		{"one too many", figure{name: "wrong placements", value: 1, unit: "jobs", none: true}, "wrong placements\t1\tjobs\t0\tshort"},
		{"without a goal", figure{name: "history", value: 311, unit: "events"}, "history\t311\tevents\t-\tok"},
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
