package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpuTicks is how many of the kernel's clock ticks make a second (USER_HZ, which is 100 on every platform of today).
const cpuTicks = 100

// cpuOf is the CPU time that processes have used so far, in user and kernel mode.
func cpuOf(pids ...int) (sum time.Duration) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			continue
		}
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		sum += time.Duration(user+system) * time.Second / cpuTicks
	}
	return sum
}

// spending tells what a rig's programs spend.
type spending struct {
	rig    *bare
	before [4]time.Duration
}

func spend(b *bare) *spending {
	s := &spending{rig: b}
	s.before = s.now()
	return s
}

func (s *spending) now() (now [4]time.Duration) {
	now[0], now[1] = cpuOf(s.rig.Temporal.Pid()), cpuOf(os.Getpid())
	for _, w := range s.rig.Workers {
		now[2] += cpuOf(w.Pid())
		now[3] += cpuOf(w.Children()...)
	}
	return now
}

// String is the CPU time since.
func (s *spending) String() string {
	now := s.now()
	for i := range now {
		now[i] -= s.before[i]
	}
	return fmt.Sprintf("CPU time: temporal-dev %s, the daemon that is played %s, workers %s, cards %s", now[0], now[1], now[2], now[3])
}
