package main

import (
	"strings"
	"sync/atomic"

	"go.temporal.io/server/common/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// expectedMessages are warnings about what is so on purpose.
var expectedMessages = []string{
	"HTTP API port has not been set", // it serves Nexus only; gRPC and the Web UI are all that is used
}

// quiet drops what the server says about its own settings and its own stop: services that go down one by one in one
// process report each other's absence as errors. A panic is always shown.
type quiet struct {
	zapcore.Core
	stopping *atomic.Bool
}

func (q quiet) With(fields []zapcore.Field) zapcore.Core {
	return quiet{Core: q.Core.With(fields), stopping: q.stopping}
}

func (q quiet) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level < zapcore.DPanicLevel {
		if q.stopping.Load() {
			return checked
		}
		for _, m := range expectedMessages {
			if strings.HasPrefix(entry.Message, m) {
				return checked
			}
		}
	}
	return q.Core.Check(entry, checked)
}

// newLogger writes to stderr, one line a message, with stack traces only where the server panics. Once stopping is
// set, it is silent, except at the levels debug and info.
func newLogger(level string, stopping *atomic.Bool) log.Logger {
	zl := log.BuildZapLogger(log.Config{Level: level, Format: "console"})
	options := []zap.Option{zap.AddStacktrace(zap.DPanicLevel)}
	if parsed := log.ParseZapLevel(level); parsed >= zapcore.WarnLevel {
		options = append(options, zap.WrapCore(func(c zapcore.Core) zapcore.Core { return quiet{Core: c, stopping: stopping} }))
	}
	return log.NewZapLogger(zl.WithOptions(options...))
}
