package devnet

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/filecoin-project/go-state-types/abi"
	"github.com/filecoin-project/go-state-types/proof"
)

// firstMiner is the actor ID of the first miner, as on a fresh Lotus devnet.
const firstMiner = abi.ActorID(1000)

// sectorsPerPartition is the network's partition size for 2 KiB sectors (go-state-types builtin/sector.go).
const sectorsPerPartition = 2

// Verifier judges a window proof; filecoin-ffi's, except in tests of rules that need no proof.
type Verifier func(proof.WindowPoStVerifyInfo) (bool, error)

// Config is the shape of a simulated chain.
type Config struct {
	Dir           string // all files of the chain: stores, tokens
	Listen        string // address of the JSON-RPC
	ControlListen string // address of the control port

	Miners        int
	SharedControl bool           // all miners have the first one's control address
	EpochDuration time.Duration  // wall-clock time between tipsets; block timestamps count whole seconds an epoch, rounded up
	StartEpoch    abi.ChainEpoch // height of the first tipset
	Lead          abi.ChainEpoch // epochs from the start to the first challenge

	Deadlines   uint64         // deadlines a proving period
	Window      abi.ChainEpoch // epochs from a deadline's Open to its Close
	Lookback    abi.ChainEpoch // epochs from a deadline's Challenge to its Open
	FaultCutoff abi.ChainEpoch // epochs before Open after which faults and recoveries are no longer taken

	Partitions          int // of a deadline
	WideEvery           int // every so many deadlines one has a partition more than that; 0: none has
	SectorsPerPartition int // 1 or 2
	UpgradedEvery       int // of so many sectors of a miner the last is an upgraded (snap) one; 0: none is

	InclusionDelay abi.ChainEpoch // epochs from a message's push to the first tipset that may hold it, at least 1
	BaseFee        abi.TokenAmount
	Balance        abi.TokenAmount // of each owner, worker and control address at the start
	Seed           string          // of keys, beacon and tickets: the same seed, the same chain
	Verify         Verifier        // filecoin-ffi's if nil
}

// DefaultConfig is the demo's chain: every deadline has 12 s of challenge and window time at half a second an epoch.
func DefaultConfig(dir string) Config {
	return Config{
		Dir: dir, Listen: "127.0.0.1:0", ControlListen: "127.0.0.1:0",
		Miners: 2, EpochDuration: 500 * time.Millisecond, StartEpoch: 1000, Lead: 3,
		Deadlines: 12, Window: 24, Lookback: 8, FaultCutoff: 10,
		Partitions: 1, WideEvery: 4, SectorsPerPartition: 2,
		InclusionDelay: 1, BaseFee: abi.NewTokenAmount(100_000), Balance: abi.NewTokenAmount(math.MaxInt64), // about 9 FIL
		Seed: "posthaste",
	}
}

// Check says what is wrong with a configuration, in the words of the program's flags.
func (c Config) Check() error {
	switch {
	case c.Dir == "":
		return errors.New("--dir is empty; name a folder for the chain's files")
	case c.Miners < 1 || c.Miners > 100:
		return fmt.Errorf("--miners is %d; it goes from 1 to 100", c.Miners)
	case c.EpochDuration < time.Millisecond:
		return fmt.Errorf("--epoch is %s; it has to be at least 1ms", c.EpochDuration)
	case c.Deadlines < 2 || c.Deadlines > 48:
		return fmt.Errorf("--deadlines is %d; it goes from 2 to 48, which real networks have", c.Deadlines)
	case c.Lookback < 1 || c.Lead < 1:
		return fmt.Errorf("--lookback is %d and --lead %d; both have to be at least 1 epoch", c.Lookback, c.Lead)
	case c.Window <= c.Lookback+c.Lead:
		return fmt.Errorf("--window is %d epochs; it has to be longer than --lookback and --lead together (%d)", c.Window, c.Lookback+c.Lead)
	case c.FaultCutoff <= c.Lookback:
		return fmt.Errorf("--fault-cutoff is %d epochs; it has to be longer than --lookback (%d)", c.FaultCutoff, c.Lookback)
	case c.SectorsPerPartition < 1 || c.SectorsPerPartition > sectorsPerPartition:
		return fmt.Errorf("--sectors is %d; a partition of 2 KiB sectors has 1 or 2", c.SectorsPerPartition)
	case c.Partitions < 1 || c.Partitions > 100:
		return fmt.Errorf("--partitions is %d; it goes from 1 to 100", c.Partitions)
	case c.WideEvery < 0:
		return fmt.Errorf("--wide-every is %d; 0 (never) or more", c.WideEvery)
	case c.UpgradedEvery < 0:
		return fmt.Errorf("--upgraded-every is %d; 0 (never) or more", c.UpgradedEvery)
	case c.InclusionDelay < 1:
		return fmt.Errorf("--inclusion-delay is %d; a message lands one epoch after its push at the earliest", c.InclusionDelay)
	case c.StartEpoch < c.period():
		return fmt.Errorf("--start-epoch is %d; it has to be at least a proving period, %d", c.StartEpoch, c.period())
	}
	return nil
}

func (c Config) period() abi.ChainEpoch { return abi.ChainEpoch(c.Deadlines) * c.Window }

// blockDelay is an epoch in the blocks' timestamps, which count whole seconds.
func (c Config) blockDelay() uint64 { return uint64(math.Ceil(c.EpochDuration.Seconds())) }

// firstOpen is where the first proving period of the i-th miner begins. The miners are spread over what is left of a
// window, so that every challenge lies ahead of the start and only one deadline of each is open at the start.
func (c Config) firstOpen(i int) abi.ChainEpoch {
	room := c.Window - c.Lookback - c.Lead
	return c.StartEpoch + c.Lookback + c.Lead + room*abi.ChainEpoch(i)/abi.ChainEpoch(c.Miners)
}

// upgraded says whether a sector is an upgraded one from the start.
func (c Config) upgraded(number abi.SectorNumber) bool {
	return c.UpgradedEvery > 0 && int(number)%c.UpgradedEvery == 0
}

// partitions is how many partitions a deadline of the i-th miner has.
func (c Config) partitions(i int, deadline uint64) int {
	if c.WideEvery > 0 && (int(deadline)+i)%c.WideEvery == c.WideEvery-1 {
		return c.Partitions + 1
	}
	return c.Partitions
}
