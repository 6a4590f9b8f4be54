package integration_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// front stands in the server's process before FerretDB 1.24, and adds two things that MongoDB has and FerretDB has not:
//
//   - A change of one document is atomic. FerretDB reads, compares and writes in steps that others come between: of 16
//     goroutines that increase one number on condition of its value, 301 were told that they had, and the number was 63. So
//     the front lets one command in at a time.
//   - An index may have expireAfterSeconds. FerretDB refuses it. So the front takes it out, and shows it where indexes are
//     listed. Nothing deletes documents: tests make the query of MongoDB's TTL thread themselves.
type front struct {
	socket    string
	secondary string // the address under which it greets as a secondary of a replica set; "" for none

	mu      sync.Mutex       // held while FerretDB works on a command
	expires map[string]int32 // expireAfterSeconds by the index's collection and name
}

const (
	opMsg      = 2013
	headerSize = 16
	moreToCome = 1 << 1 // a flag of a message that gets no reply
	maxMessage = 48 << 20
)

// replicaSet is the name of the one of which a front may say that its server is a secondary.
const replicaSet = "rs"

// serve lets clients in until the listener is closed.
func (f *front) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go f.handle(client)
	}
}

func (f *front) handle(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("unix", f.socket)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	for {
		request, err := readMessage(client)
		if err != nil {
			return
		}
		reply, err := f.ask(server, request)
		if err != nil {
			return
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// ask passes a request on, and returns the reply, nothing if there is none.
func (f *front) ask(server net.Conn, request []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	command := body(request)
	if nameOf(command) == "createIndexes" {
		var err error
		if request, err = f.withoutExpiry(request, command); err != nil {
			return nil, err
		}
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	if command != nil && binary.LittleEndian.Uint32(request[headerSize:])&moreToCome != 0 {
		return nil, nil
	}
	reply, err := readMessage(server)
	if err != nil {
		return nil, err
	}
	switch nameOf(command) {
	case "listIndexes":
		return f.withExpiry(reply, command)
	case "hello":
		return f.withRole(reply)
	}
	return reply, nil
}

// withRole has a greeting say that the server is a secondary, if it is to.
func (f *front) withRole(reply []byte) ([]byte, error) {
	if f.secondary == "" {
		return reply, nil
	}
	greeting := bson.D{
		{Key: "isWritablePrimary", Value: false}, {Key: "secondary", Value: true}, {Key: "setName", Value: replicaSet},
		{Key: "hosts", Value: bson.A{f.secondary}}, {Key: "me", Value: f.secondary},
	}
	elements, err := body(reply).Elements()
	for _, e := range elements {
		if e.Key() != "isWritablePrimary" {
			greeting = append(greeting, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	if err != nil {
		return nil, err
	}
	return withBody(reply, greeting)
}

func readMessage(from net.Conn) ([]byte, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header)
	if length < headerSize || length > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	message := append(header, make([]byte, length-headerSize)...)
	_, err := io.ReadFull(from, message[headerSize:])
	return message, err
}

// bodyAt is where the first section of a message begins, if it is a command.
const bodyAt = headerSize + 4 + 1

// body returns the command in a message, or nil for a message of the old kind, as greetings are.
func body(message []byte) bson.Raw {
	if len(message) < bodyAt+4 || binary.LittleEndian.Uint32(message[12:]) != opMsg || message[bodyAt-1] != 0 {
		return nil
	}
	length := int(binary.LittleEndian.Uint32(message[bodyAt:]))
	if length > len(message)-bodyAt {
		return nil
	}
	return bson.Raw(message[bodyAt : bodyAt+length])
}

// withBody returns the message with another command in it. What it had beside the command is dropped.
func withBody(message []byte, command any) ([]byte, error) {
	document, err := bson.Marshal(command)
	if err != nil {
		return nil, err
	}
	changed := append(append([]byte(nil), message[:bodyAt]...), document...)
	binary.LittleEndian.PutUint32(changed, uint32(len(changed)))
	return changed, nil
}

// withoutExpiry takes expireAfterSeconds out of a createIndexes command, and remembers it.
func (f *front) withoutExpiry(request []byte, raw bson.Raw) ([]byte, error) {
	var command bson.D
	if err := bson.Unmarshal(raw, &command); err != nil {
		return nil, err
	}
	for i, field := range command {
		indexes, ok := field.Value.(bson.A)
		if field.Key != "indexes" || !ok {
			continue
		}
		for k, one := range indexes {
			index, ok := one.(bson.D)
			if !ok {
				return nil, errors.New("an index that is no document")
			}
			indexes[k] = f.takeExpiry(raw, index)
		}
		command[i].Value = indexes
	}
	return withBody(request, command)
}

func (f *front) takeExpiry(command bson.Raw, index bson.D) bson.D {
	var name string
	var kept bson.D
	var expires *int32
	for _, field := range index {
		switch field.Key {
		case "name":
			name, _ = field.Value.(string)
		case "expireAfterSeconds":
			seconds, _ := field.Value.(int32)
			expires = &seconds
			continue
		}
		kept = append(kept, field)
	}
	if expires != nil {
		f.expires[indexKey(command, name)] = *expires
	}
	return kept
}

// indexKey names an index in what the front remembers. A command's first field is the collection.
func indexKey(command bson.Raw, name string) string {
	return command.Lookup("$db").String() + command.Index(0).Value().String() + name
}

// withExpiry puts what the front remembers into the answer to a listIndexes command.
func (f *front) withExpiry(reply []byte, command bson.Raw) ([]byte, error) {
	var answer bson.D
	if err := bson.Unmarshal(body(reply), &answer); err != nil {
		return nil, err
	}
	for _, field := range answer {
		cursor, ok := field.Value.(bson.D)
		if field.Key != "cursor" || !ok {
			continue
		}
		for i, part := range cursor {
			batch, ok := part.Value.(bson.A)
			if !ok {
				continue
			}
			for k := range batch {
				batch[k] = f.addExpiry(command, batch[k].(bson.D))
			}
			cursor[i].Value = batch
		}
	}
	return withBody(reply, answer)
}

func (f *front) addExpiry(command bson.Raw, index bson.D) bson.D {
	for _, field := range index {
		name, _ := field.Value.(string)
		if seconds, ok := f.expires[indexKey(command, name)]; field.Key == "name" && ok {
			return append(index, bson.E{Key: "expireAfterSeconds", Value: seconds})
		}
	}
	return index
}
