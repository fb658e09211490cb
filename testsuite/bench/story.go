package main

import (
	"fmt"
	"time"

	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"

	"posthaste/post"
	"posthaste/workflows"
)

// story is what the history of a deadline with one partition says about its proof, told event by event.
type story struct {
	known    time.Time  // ChallengeRandomness completed
	attempts []*attempt // GenerateWindowPoSt, as the workflow scheduled them
	checked  time.Time  // VerifyProof completed
	ready    time.Time  // the workflow has dealt with that: its next step is to submit

	scheduled map[int64]string   // activity by the event that scheduled it
	proving   map[int64]*attempt // the same of GenerateWindowPoSt
}

// attempt is one scheduled GenerateWindowPoSt.
type attempt struct {
	job       post.Job
	scheduled time.Time
	started   time.Time // zero until it has ended: the server writes both events together
	ended     time.Time
	proof     *post.Proof // nil: it failed
}

func newStory() *story {
	return &story{scheduled: map[int64]string{}, proving: map[int64]*attempt{}}
}

// proven is the attempt that made the proof.
func (s *story) proven() *attempt {
	if n := len(s.attempts); n > 0 && s.attempts[n-1].proof != nil {
		return s.attempts[n-1]
	}
	return nil
}

// hear takes in the next event.
func (s *story) hear(e *historypb.HistoryEvent) error {
	at := e.GetEventTime().AsTime()
	switch e.GetEventType() {
	case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		return s.hearScheduled(e, at)
	case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED:
		if a := s.proving[e.GetActivityTaskStartedEventAttributes().GetScheduledEventId()]; a != nil {
			a.started = at
		}
	case enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		return s.hearCompleted(e.GetActivityTaskCompletedEventAttributes(), at)
	case enums.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		s.hearEnd(e.GetActivityTaskFailedEventAttributes().GetScheduledEventId(), at)
	case enums.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		s.hearEnd(e.GetActivityTaskTimedOutEventAttributes().GetScheduledEventId(), at)
	case enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
		if !s.checked.IsZero() && s.ready.IsZero() {
			s.ready = at
		}
	}
	return nil
}

func (s *story) hearScheduled(e *historypb.HistoryEvent, at time.Time) error {
	what := e.GetActivityTaskScheduledEventAttributes()
	s.scheduled[e.GetEventId()] = what.GetActivityType().GetName()
	if what.GetActivityType().GetName() != workflows.ActivityGenerateWindowPoSt {
		return nil
	}
	a := &attempt{scheduled: at}
	s.attempts = append(s.attempts, a)
	s.proving[e.GetEventId()] = a
	if err := converter.GetDefaultDataConverter().FromPayloads(what.GetInput(), &a.job); err != nil {
		return fmt.Errorf("reading the job of a GenerateWindowPoSt: %w", err)
	}
	return nil
}

func (s *story) hearEnd(scheduled int64, at time.Time) {
	if a := s.proving[scheduled]; a != nil {
		a.ended = at
	}
}

func (s *story) hearCompleted(what *historypb.ActivityTaskCompletedEventAttributes, at time.Time) error {
	switch s.scheduled[what.GetScheduledEventId()] {
	case workflows.ActivityChallengeRandomness:
		s.known = at
	case workflows.ActivityVerifyProof:
		s.checked = at
	case workflows.ActivityGenerateWindowPoSt:
		s.hearEnd(what.GetScheduledEventId(), at)
		a := s.proving[what.GetScheduledEventId()]
		a.proof = &post.Proof{}
		if err := converter.GetDefaultDataConverter().FromPayloads(what.GetResult(), a.proof); err != nil {
			return fmt.Errorf("reading the proof of a GenerateWindowPoSt: %w", err)
		}
	}
	return nil
}
