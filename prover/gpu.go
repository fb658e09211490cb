package prover

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	ffi "github.com/filecoin-project/filecoin-ffi"
)

// Devices are the names of the GPUs that the proofs library finds, which is up to CUDA_VISIBLE_DEVICES; none if it was built
// without GPUs.
func Devices() ([]string, error) {
	names, err := ffi.GetGPUDevices()
	if err != nil {
		return nil, fmt.Errorf("looking for GPUs: %w", err)
	}
	return names, nil
}

// PrintDevices writes the devices as a list in JSON, and nothing else, to out. As in RunProcessor, os.Stdout is kept clear of what the
// library prints.
func PrintDevices(out io.Writer) error {
	if out == io.Writer(os.Stdout) {
		clean, err := takeStdout()
		if err != nil {
			return fmt.Errorf("taking stdout for the list: %w", err)
		}
		defer func() { _ = clean.Close() }()
		out = clean
	}
	names, err := Devices()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(append([]string{}, names...))
}

// noDevice is why a card that must have a GPU is not ready.
func noDevice(config CardConfig) error {
	visible, set := config.environment(os.Environ())["CUDA_VISIBLE_DEVICES"]
	shown := "CUDA_VISIBLE_DEVICES=" + visible
	if !set {
		shown = "CUDA_VISIBLE_DEVICES is not set"
	}
	return fmt.Errorf("%w: no GPU found: %s; is that a GPU of this machine, is its driver loaded, and is this program built for GPUs (FFI_USE_CUDA=1 or FFI_USE_OPENCL=1)?",
		ErrNotReady, shown)
}

// What bellperson (src/gpu/locks.rs, 0.8 to 0.27) logs when it leaves the GPU for the CPU, in lower case: with the first line a computation
// has failed, with the others none can begin, and nothing more is said.
var fallbackLines = [][]byte{
	[]byte("falling back to cpu"),                    // GPU FFT failed! Falling back to CPU... Error: …
	[]byte("cannot instantiate gpu fft kernel"),      // Cannot instantiate GPU FFT kernel! Error: …
	[]byte("cannot instantiate gpu multiexp kernel"), // Cannot instantiate GPU Multiexp kernel! Error: …
}

// isFallback says whether a line of a child's log tells that the library goes on on the CPU.
func isFallback(line []byte) bool {
	lower := bytes.ToLower(line)
	return slices.ContainsFunc(fallbackLines, func(known []byte) bool { return bytes.Contains(lower, known) })
}

// fallbackModule is where those lines come from. They are warnings.
const fallbackModule = "bellperson::gpu::locks"

// hearFallback is a RUST_LOG with which the library logs those lines. Unset, the library logs nothing at all; one that hides
// them is told of that module as well, and is otherwise left as it is.
func hearFallback(spec string) string {
	if strings.TrimSpace(spec) == "" {
		return "warn"
	}
	directives, filter, filtered := strings.Cut(spec, "/")
	var kept []string
	level, longest := "off", -1
	for part := range strings.SplitSeq(directives, ",") {
		module, set, isModule := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case isModule:
		case slices.Contains(logLevels, strings.ToLower(module)):
			module, set = "", module
		default:
			set = "trace" // a module without a level: all of it
		}
		if strings.HasPrefix(fallbackModule, module) && len(module) > longest {
			level, longest = strings.ToLower(strings.TrimSpace(set)), len(module)
		}
		if module != fallbackModule {
			kept = append(kept, strings.TrimSpace(part))
		}
	}
	if level != "off" && level != "error" {
		return spec
	}
	spec = strings.Join(append(slices.DeleteFunc(kept, func(s string) bool { return s == "" }), fallbackModule+"=warn"), ",")
	if filtered {
		spec += "/" + filter // only texts that match it are logged; the operator must have wanted that
	}
	return spec
}

var logLevels = []string{"off", "error", "warn", "info", "debug", "trace"}
