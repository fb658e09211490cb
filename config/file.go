package config

import "time"

// file is posthaste.toml as written. Pointers tell what was left out from what was set to nothing. The tag `is` says what a
// value has to be, for the error that refuses another.
type file struct {
	Temporal struct {
		Address   *string `toml:"address" is:"a string such as \"127.0.0.1:7233\""`
		Namespace *string `toml:"namespace" is:"a string"`
		UI        *string `toml:"ui" is:"a string such as \"http://127.0.0.1:8233\""`

		Versioning bool   `toml:"versioning"`
		BuildID    string `toml:"build_id" is:"a string"`
	} `toml:"temporal"`
	Chain struct {
		APIInfo       string    `toml:"api_info" is:"a string such as \"TOKEN:/ip4/127.0.0.1/tcp/1234/http\""`
		APIInfoFile   string    `toml:"api_info_file" is:"a string, the path of a file"`
		Nodes         []string  `toml:"nodes" is:"a list of strings such as [\"TOKEN:/ip4/127.0.0.1/tcp/1234/http\"]"`
		NodesFile     string    `toml:"nodes_file" is:"a string, the path of a file"`
		EpochDuration *duration `toml:"epoch_duration"`
	} `toml:"chain"`
	Policy   policyFile   `toml:"policy"`
	Miners   []minerFile  `toml:"miners"`
	Stores   []storeFile  `toml:"stores"`
	Attached []attachFile `toml:"attached"`
	Worker   struct {
		Name        *string   `toml:"name" is:"a string"`
		StopTimeout *duration `toml:"stop_timeout"`
		Pool        *string   `toml:"pool" is:"a string such as \"gpu\""`
		// Its one rule, in the place of [[worker.rules]].
		AllowedMiners  []any      `toml:"allowed_miners" is:"a list such as [1000, \"f01001\"]"`
		AllowedSizes   []string   `toml:"allowed_sizes" is:"a list such as [\"32GiB\"]"`
		Rules          []ruleFile `toml:"rules"`
		MemoryPerProof *size      `toml:"memory_per_proof"`
		Memory         *size      `toml:"memory"`
		Drain          bool       `toml:"drain"`
		LargeOnCPU     bool       `toml:"large_sectors_on_cpu"`
	} `toml:"worker"`
	Processors struct {
		Limitation struct {
			Concurrent struct {
				WindowPoSt  *int64 `toml:"window_post" is:"a whole number"`
				WinningPoSt *int64 `toml:"winning_post" is:"a whole number"`
			} `toml:"concurrent"`
		} `toml:"limitation"`
		WindowPoSt  []cardFile `toml:"window_post"`
		WinningPoSt []cardFile `toml:"winning_post"`
	} `toml:"processors"`
	Metrics struct {
		Daemon *string `toml:"daemon" is:"a string: host:port, or \"off\""`
		Worker *string `toml:"worker" is:"a string: host:port, or \"off\""`
	} `toml:"metrics"`
	Alerts alertsFile `toml:"alerts"`
	Log    struct {
		Level  *string `toml:"level" is:"a string: debug, info, warn or error"`
		Format *string `toml:"format" is:"a string: text or json"`
	} `toml:"log"`
}

type policyFile struct {
	Sender              *string   `toml:"sender" is:"a string: \"auto\" or an address such as \"f3…\""`
	ChallengeConfidence *int64    `toml:"challenge_confidence" is:"a whole number of epochs"`
	SubmitConfidence    *int64    `toml:"submit_confidence" is:"a whole number of epochs"`
	Confidence          *int64    `toml:"confidence" is:"a whole number of epochs"`
	SubmitReserve       *int64    `toml:"submit_reserve" is:"a whole number of epochs"`
	MaxTry              *int64    `toml:"max_try" is:"a whole number"`
	RetryUntilClose     *bool     `toml:"retry_until_close"`
	JobLifetime         *duration `toml:"job_lifetime"`
	Pool                *string   `toml:"pool" is:"a string, the pool of the cards that prove; \"\" is any"`
	PartitionsPerPost   *int64    `toml:"partitions_per_post" is:"a whole number from 1 to 3"`
	RecoverAlone        *bool     `toml:"recover_alone"`
	MaxFee              *string   `toml:"max_fee" is:"a string such as \"5 FIL\""`
	GasFeeCap           *string   `toml:"gas_fee_cap" is:"a string such as \"5 nanoFIL\"; \"\" is the highest that max_fee allows"`
	GasOverEstimation   *float64  `toml:"gas_over_estimation" is:"a number such as 1.25"`
	GasOverPremium      *float64  `toml:"gas_over_premium" is:"a number such as 1.25"`
	ReplaceMaxFee       *string   `toml:"replace_max_fee" is:"a string such as \"10 FIL\"; \"\" is max_fee"`

	Recover              *bool  `toml:"recover"`
	MaxRecoverSectors    *int64 `toml:"max_recover_sectors" is:"a whole number, 0 for no limit"`
	MaxRecoverPartitions *int64 `toml:"max_recover_partitions" is:"a whole number, 0 for what the network allows"`
}

// minerFile is policyFile's keys for one miner, and its own. The keys are repeated because the schema is read off the tags.
type minerFile struct {
	ID                  string    `toml:"id" is:"a string such as \"f01000\""`
	Enabled             *bool     `toml:"enabled"`
	Sender              *string   `toml:"sender" is:"a string: \"auto\" or an address such as \"f3…\""`
	ChallengeConfidence *int64    `toml:"challenge_confidence" is:"a whole number of epochs"`
	SubmitConfidence    *int64    `toml:"submit_confidence" is:"a whole number of epochs"`
	Confidence          *int64    `toml:"confidence" is:"a whole number of epochs"`
	SubmitReserve       *int64    `toml:"submit_reserve" is:"a whole number of epochs"`
	MaxTry              *int64    `toml:"max_try" is:"a whole number"`
	RetryUntilClose     *bool     `toml:"retry_until_close"`
	JobLifetime         *duration `toml:"job_lifetime"`
	Pool                *string   `toml:"pool" is:"a string, the pool of the cards that prove; \"\" is any"`
	PartitionsPerPost   *int64    `toml:"partitions_per_post" is:"a whole number from 1 to 3"`
	RecoverAlone        *bool     `toml:"recover_alone"`
	MaxFee              *string   `toml:"max_fee" is:"a string such as \"5 FIL\""`
	GasFeeCap           *string   `toml:"gas_fee_cap" is:"a string such as \"5 nanoFIL\"; \"\" is the highest that max_fee allows"`
	GasOverEstimation   *float64  `toml:"gas_over_estimation" is:"a number such as 1.25"`
	GasOverPremium      *float64  `toml:"gas_over_premium" is:"a number such as 1.25"`
	ReplaceMaxFee       *string   `toml:"replace_max_fee" is:"a string such as \"10 FIL\"; \"\" is max_fee"`

	Recover              *bool  `toml:"recover"`
	MaxRecoverSectors    *int64 `toml:"max_recover_sectors" is:"a whole number, 0 for no limit"`
	MaxRecoverPartitions *int64 `toml:"max_recover_partitions" is:"a whole number, 0 for what the network allows"`
}

func (m minerFile) policy() policyFile {
	return policyFile{
		Sender: m.Sender, ChallengeConfidence: m.ChallengeConfidence, SubmitConfidence: m.SubmitConfidence, Confidence: m.Confidence,
		SubmitReserve: m.SubmitReserve, MaxTry: m.MaxTry, RetryUntilClose: m.RetryUntilClose, JobLifetime: m.JobLifetime, Pool: m.Pool,
		PartitionsPerPost: m.PartitionsPerPost, RecoverAlone: m.RecoverAlone,
		MaxFee: m.MaxFee, GasFeeCap: m.GasFeeCap, GasOverEstimation: m.GasOverEstimation, GasOverPremium: m.GasOverPremium, ReplaceMaxFee: m.ReplaceMaxFee,
		Recover: m.Recover, MaxRecoverSectors: m.MaxRecoverSectors, MaxRecoverPartitions: m.MaxRecoverPartitions,
	}
}

type storeFile struct {
	Name string `toml:"name" is:"a string"`
	Path string `toml:"path" is:"a string, an absolute path"`
}

// attachFile has damocles-worker's word for the path.
type attachFile struct {
	Name     string `toml:"name" is:"a string"`
	Location string `toml:"location" is:"a string, an absolute path"`
}

// ruleFile has damocles-worker's words, from [[sealing_thread]].
type ruleFile struct {
	AllowedMiners []any    `toml:"allowed_miners" is:"a list such as [1000, \"f01001\"]"`
	AllowedSizes  []string `toml:"allowed_sizes" is:"a list such as [\"32GiB\"]"`
}

type cgroupFile struct {
	CPUSet    string  `toml:"cpuset" is:"a string such as \"0-3,8\""`
	GroupName *string `toml:"group_name" is:"a string"`
}

type cardFile struct {
	Name          *string           `toml:"name" is:"a string"`
	Bin           string            `toml:"bin" is:"a string, the path of a program"`
	Args          []string          `toml:"args" is:"a list of strings"`
	Envs          map[string]string `toml:"envs" is:"a table of strings such as { CUDA_VISIBLE_DEVICES = \"0\" }"`
	InheritEnvs   *bool             `toml:"inherit_envs"`
	Cgroup        cgroupFile        `toml:"cgroup"`
	Concurrent    *int64            `toml:"concurrent" is:"a whole number"`
	Weight        *int64            `toml:"weight" is:"a whole number"`
	ReadyTimeout  *duration         `toml:"ready_timeout"`
	AutoRestart   *bool             `toml:"auto_restart"`
	GPU           *bool             `toml:"gpu"`
	Pool          *string           `toml:"pool" is:"a string such as \"gpu\""`
	ParallelReads *int64            `toml:"parallel_reads" is:"a whole number"`
	ReadTimeout   *duration         `toml:"read_timeout"`
}

// duration is written as a string: "15s", "25h", "1m30s". The schema pass has checked it.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// size is a number of bytes, written as "64GiB". The schema pass has checked it.
type size int64

func (s *size) UnmarshalText(text []byte) error {
	bytes, err := parseSize(string(text))
	*s = size(bytes)
	return err
}
