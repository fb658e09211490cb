package rig

import (
	"fmt"
	"net"
	"strings"
	"time"

	_ "go.temporal.io/api/operatorservice/v1" // the messages that pass through
	_ "go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Skewed serves the rig's Temporal as a machine sees it whose clock is ahead of the server's, and gives its address: what it says comes from so long ago, and what it is told from so far ahead. Go's runtime asks the kernel for the time, past libfaketime.
func (r *Rig) Skewed(ahead time.Duration) (address string, err error) {
	conn, err := grpc.NewClient(r.temporal.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", fmt.Errorf("a client of Temporal: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		_ = conn.Close()
		return "", fmt.Errorf("serving Temporal anew: %w", err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		return forward(stream, conn, ahead)
	}))
	go func() { _ = server.Serve(listener) }() // its end is ours
	r.proxies = append(r.proxies, func() {
		server.Stop()
		_ = conn.Close()
	})
	return listener.Addr().String(), nil
}

// forward hands one call on. All of Temporal's are unary.
func forward(stream grpc.ServerStream, conn *grpc.ClientConn, ahead time.Duration) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var request, response []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	ctx := stream.Context()
	if headers, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, headers)
	}
	in, out := messagesOf(method)
	shifted := shift(request, in, ahead)
	if err := conn.Invoke(ctx, method, &shifted, &response, grpc.ForceCodecV2(rawCodec{})); err != nil {
		return err
	}
	shifted = shift(response, out, -ahead)
	return stream.SendMsg(&shifted)
}

// messagesOf are the types of a method's messages; nil where they are not known.
func messagesOf(method string) (in, out protoreflect.MessageType) {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, nil
	}
	m := found.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
	if m == nil {
		return nil, nil
	}
	in, _ = protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	out, _ = protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	return in, out
}

// shift moves all times in a message.
func shift(data []byte, of protoreflect.MessageType, by time.Duration) []byte {
	if of == nil {
		return data
	}
	message := of.New()
	if err := proto.Unmarshal(data, message.Interface()); err != nil {
		return data
	}
	shiftAll(message, by)
	if moved, err := proto.Marshal(message.Interface()); err == nil {
		return moved
	}
	return data
}

func shiftAll(m protoreflect.Message, by time.Duration) {
	if at, ok := m.Interface().(*timestamppb.Timestamp); ok {
		if at.AsTime().Unix() > 0 { // else there is none
			moved := timestamppb.New(at.AsTime().Add(by))
			at.Seconds, at.Nanos = moved.Seconds, moved.Nanos
		}
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { shiftAll(v.Message(), by); return true })
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range v.List().Len() {
				shiftAll(v.List().Get(i).Message(), by)
			}
		default:
			shiftAll(v.Message(), by)
		}
		return true
	})
}

// rawCodec passes messages as they are on the wire.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
