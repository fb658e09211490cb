package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"posthaste/post"
	"posthaste/workflows"
)

// script writes a history: an event every 10 ms.
type script struct {
	t      *testing.T
	events []*historypb.HistoryEvent
}

func (s *script) add(kind enums.EventType, e *historypb.HistoryEvent) int64 {
	e.EventId, e.EventType = int64(len(s.events)+1), kind
	e.EventTime = timestamppb.New(time.UnixMilli(10 * e.EventId))
	s.events = append(s.events, e)
	return e.EventId
}

func (s *script) payloads(v any) *commonpb.Payloads {
	p, err := converter.GetDefaultDataConverter().ToPayloads(v)
	require.NoError(s.t, err)
	return p
}

func (s *script) scheduled(name string, in any) int64 {
	return s.add(enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskScheduledEventAttributes{
		ActivityTaskScheduledEventAttributes: &historypb.ActivityTaskScheduledEventAttributes{
			ActivityType: &commonpb.ActivityType{Name: name}, Input: s.payloads(in)}}})
}

func (s *script) started(of int64) {
	s.add(enums.EVENT_TYPE_ACTIVITY_TASK_STARTED, &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskStartedEventAttributes{
		ActivityTaskStartedEventAttributes: &historypb.ActivityTaskStartedEventAttributes{ScheduledEventId: of}}})
}

func (s *script) completed(of int64, result any) {
	s.add(enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskCompletedEventAttributes{
		ActivityTaskCompletedEventAttributes: &historypb.ActivityTaskCompletedEventAttributes{ScheduledEventId: of, Result: s.payloads(result)}}})
}

func (s *script) failed(of int64) {
	s.add(enums.EVENT_TYPE_ACTIVITY_TASK_FAILED, &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskFailedEventAttributes{
		ActivityTaskFailedEventAttributes: &historypb.ActivityTaskFailedEventAttributes{ScheduledEventId: of}}})
}

func (s *script) workflowTask() {
	s.add(enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, &historypb.HistoryEvent{})
}

func at(event int64) time.Time { return time.UnixMilli(10 * event).UTC() }

func TestStoryOfAProofWhoseCardDied(t *testing.T) {
	s := &script{t: t}
	s.workflowTask()                                                                                // 1
	challenge := s.scheduled(workflows.ActivityChallengeRandomness, 0)                              // 2
	s.completed(challenge, []byte{1})                                                               // 3
	dead := s.scheduled(workflows.ActivityGenerateWindowPoSt, post.Job{Try: 1})                     // 4
	s.started(dead)                                                                                 // 5
	s.failed(dead)                                                                                  // 6
	good := s.scheduled(workflows.ActivityGenerateWindowPoSt, post.Job{Try: 2})                     // 7
	s.started(good)                                                                                 // 8
	s.completed(good, post.Proof{Phases: post.PhaseTimes{Wait: 3 * time.Second, Snark: time.Hour}}) // 9
	s.workflowTask()                                                                                // 10
	verify := s.scheduled(workflows.ActivityVerifyProof, 0)                                         // 11
	s.completed(verify, true)                                                                       // 12
	s.workflowTask()                                                                                // 13
	s.workflowTask()                                                                                // 14: of something else

	told := newStory()
	for _, e := range s.events[:8] {
		require.NoError(t, told.hear(e))
		assert.Nil(t, told.proven(), "event %d", e.EventId)
	}
	for _, e := range s.events[8:] {
		require.NoError(t, told.hear(e))
	}
	assert.Equal(t, at(3), told.known)
	assert.Equal(t, at(13), told.ready)
	require.Len(t, told.attempts, 2)
	assert.Equal(t, 1, told.attempts[0].job.Try)
	assert.Equal(t, at(6), told.attempts[0].ended)
	second := told.proven()
	require.NotNil(t, second)
	assert.Equal(t, at(7), second.scheduled)
	assert.Equal(t, at(8), second.started)
	assert.Equal(t, time.Hour, second.proof.Phases.Snark)
}

func TestTaxIsWhatTheCardAndTheLibraryDoNotNeed(t *testing.T) {
	var samples []sample
	for i := range 20 {
		s := sample{span: 1100 * time.Millisecond, card: 1050 * time.Millisecond, pickUp: 4 * time.Millisecond}
		if i%2 == 0 {
			s.library = 1030 * time.Millisecond
		}
		samples = append(samples, s)
	}
	lines := map[string]figure{}
	figures, err := taxFigures(samples)
	require.NoError(t, err)
	for _, f := range figures {
		lines[f.name] = f
	}
	assert.Equal(t, 70.0, lines["orchestration tax p50"].value, "50 ms beside the card, and a card 20 ms slower than the library")
	assert.Equal(t, 4.0, lines["pick-up p99"].value)

	for i := range samples {
		samples[i].library = 1080 * time.Millisecond
	}
	figures, err = taxFigures(samples)
	require.NoError(t, err)
	assert.Equal(t, 50.0, figures[1].value, "a card that is faster than the library is not credited")

	_, err = taxFigures(samples[:fewestPairs-1])
	assert.ErrorContains(t, err, "too busy or too slow")
}
