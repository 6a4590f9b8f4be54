package sqlstore

import (
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"syscall"
)

// This file recognizes the drivers' errors by their methods and fields, so that no driver is a dependency. PostgreSQL's
// errors have a method SQLState (pgx, pq), those of go-sql-driver a field Number, and SQLite's a method Code (modernc)
// or a field Code (mattn).

var (
	// These are the errors after which another try may succeed: passingStates are PostgreSQL's, passingNumbers those of
	// MySQL and MariaDB, and passingCodes SQLite's.
	passingStates = []string{
		"40001", "40P01", // serialization failure, deadlock
		"55P03",          // a lock was not free within lock_timeout
		"57P01", "57P02", // the connection was cut: by an administrator, by a crash
		"25P03", "57P05", // by idle_in_transaction_session_timeout, by idle_session_timeout
	}
	passingNumbers = []uint64{
		1213, 1205, // deadlock, a lock was not free within innodb_lock_wait_timeout
		1020,             // the record has changed since the last read (MariaDB's innodb_snapshot_isolation)
		1053, 1927, 3169, // the connection was cut: by a shutdown, by KILL (MariaDB, MySQL)
		4031, // by wait_timeout
	}
	passingCodes = []uint64{5, 6} // SQLITE_BUSY, SQLITE_LOCKED
)

// mayPass reports whether another try may succeed after this error. If a connection could not be made, there is no
// other try: the server is away, and it is better to return the error at once.
func mayPass(err error) bool {
	if errors.Is(err, errGone) || wasCut(err) {
		return true
	}
	if state := sqlState(err); state != "" {
		return slices.Contains(passingStates, state) || strings.HasPrefix(state, "08")
	}
	if number, ok := errorNumber(err, "Number"); ok {
		return slices.Contains(passingNumbers, number)
	}
	code, ok := sqliteCode(err)
	return ok && slices.Contains(passingCodes, code&0xff) // the rest of an extended code says why
}

// wasCut reports whether an open connection was cut.
func wasCut(err error) bool {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || wasNotSent(err) ||
		anyError(err, func(err error) bool { return err.Error() == "invalid connection" }) // go-sql-driver's ErrInvalidConn
}

// wasNotSent reports whether pgx says that it found the connection closed, and sent nothing.
func wasNotSent(err error) bool {
	var safe interface{ SafeToRetry() bool }
	return errors.As(err, &safe) && safe.SafeToRetry()
}

// isDuplicate reports whether there is already a row with that ID.
func isDuplicate(err error) bool {
	if err == nil {
		return false
	}
	if number, ok := errorNumber(err, "Number"); ok {
		return number == 1062
	}
	return sqlState(err) == "23505"
}

func sqlState(err error) string {
	var withState interface{ SQLState() string }
	if errors.As(err, &withState) {
		return withState.SQLState()
	}
	return ""
}

func sqliteCode(err error) (uint64, bool) {
	var withCode interface{ Code() int }
	if errors.As(err, &withCode) {
		return uint64(withCode.Code()), true
	}
	return errorNumber(err, "Code")
}

// errorNumber returns an integer field of an error that is a struct.
func errorNumber(err error, field string) (number uint64, found bool) {
	found = anyError(err, func(err error) bool {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			return false
		}
		f := v.FieldByName(field)
		switch {
		case !f.IsValid():
			return false
		case f.CanUint():
			number = f.Uint()
		case f.CanInt():
			number = uint64(f.Int())
		default:
			return false
		}
		return true
	})
	return number, found
}

// anyError reports whether is holds for err or for one that it wraps.
func anyError(err error, is func(error) bool) bool {
	if err == nil {
		return false
	}
	if is(err) {
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // it looks at each error of the chain
	case interface{ Unwrap() error }:
		return anyError(wrapper.Unwrap(), is)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(wrapper.Unwrap(), func(err error) bool { return anyError(err, is) })
	}
	return false
}
