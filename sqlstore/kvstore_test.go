package sqlstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// The store over versions of docs/stores.md, word for word; TestDocumentation sees to that.

// Bucket is what a key-value store with versions has: NATS KV, etcd, Consul, an object store with conditional requests.
type Bucket interface {
	Get(ctx context.Context, key string) (value []byte, version uint64, err error) // errNoKey if there is none
	Create(ctx context.Context, key string, value []byte) error                    // errChanged if there is one
	Update(ctx context.Context, key string, value []byte, version uint64) error    // errChanged if it is another version's
}

var errNoKey, errChanged = errors.New("no such key"), errors.New("another version is there")

// BucketStore is a session.Store in a Bucket. It makes swaps one by one, in their order.
type BucketStore struct{ bucket Bucket }

// Load keeps the version with the record, for a Swap that has it as Old.
func (s *BucketStore) Load(ctx context.Context, token session.Token) (*session.Record, error) {
	value, version, err := s.bucket.Get(ctx, token.ID())
	if errors.Is(err, errNoKey) {
		return nil, session.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	r := new(session.Record)
	if err := r.UnmarshalBinary(value); err != nil {
		return nil, err
	}
	r.Version = version
	return r, nil
}

// Swap stops at the first that fails.
func (s *BucketStore) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	for _, w := range swaps {
		if err := s.swap(ctx, w); err != nil {
			return session.Token{}, err
		}
	}
	return token, nil
}

func (s *BucketStore) swap(ctx context.Context, w session.Swap) error {
	value, err := w.New.MarshalBinary()
	if err != nil {
		return err
	}
	switch version, known := versionOf(w.Old); {
	case w.Old == nil:
		err = s.bucket.Create(ctx, w.New.ID, value)
	case known:
		err = s.bucket.Update(ctx, w.New.ID, value, version)
	default:
		err = errChanged // it was swapped in by this request, so its version is to be looked up
	}
	if !errors.Is(err, errChanged) {
		return err
	}
	current, err := s.Load(ctx, session.NewToken(w.New.ID, ""))
	switch {
	case errors.Is(err, session.ErrNotFound):
		return &session.ConflictError{ID: w.New.ID}
	case err != nil:
		return err
	case current.Revision == w.New.Revision:
		return nil // it was made before, and only its answer was lost
	case w.Old != nil && current.Revision == w.Old.Revision: // the same record, whose version was not known
		return s.swap(ctx, session.Swap{Old: current, New: w.New})
	}
	return &session.ConflictError{ID: w.New.ID, Current: current}
}

func versionOf(r *session.Record) (version uint64, known bool) {
	if r == nil {
		return 0, false
	}
	version, known = r.Version.(uint64)
	return version, known
}

// memoryBucket is a Bucket in memory.
type memoryBucket struct {
	mu      sync.Mutex
	version uint64
	values  map[string]versioned
}

type versioned struct {
	value   []byte
	version uint64
}

func (b *memoryBucket) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.values[key]
	if !ok && ctx.Err() == nil {
		return nil, 0, errNoKey
	}
	return v.value, v.version, ctx.Err()
}

func (b *memoryBucket) Create(ctx context.Context, key string, value []byte) error {
	return b.put(ctx, key, value, 0)
}

func (b *memoryBucket) Update(ctx context.Context, key string, value []byte, version uint64) error {
	return b.put(ctx, key, value, version)
}

func (b *memoryBucket) put(ctx context.Context, key string, value []byte, version uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if b.values[key].version != version {
		return errChanged
	}
	b.version++
	b.values[key] = versioned{value, b.version}
	return nil
}

func TestBucketStore(t *testing.T) {
	bucket := &memoryBucket{values: map[string]versioned{}}
	storetest.Run(t, func(*testing.T) session.Store { return &BucketStore{bucket} })
}
