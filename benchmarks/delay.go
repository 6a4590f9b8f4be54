package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A delay is a proxy in front of a server that passes everything on later, each way: a network. It runs in a process of
// its own, this program under another name, since a pause as short as that takes a thread, and a program with few
// processors would wait for it.
type delay struct {
	addr    string
	command *exec.Cmd
	stdin   io.Closer // the process ends when it is closed
}

// delayVariable tells this program to be a proxy: the server's address and how long to wait, with a space between.
const delayVariable = "BENCHMARK_DELAY"

// beDelay is the whole program if the variable says so.
func beDelay() {
	spec := os.Getenv(delayVariable)
	if spec == "" {
		return
	}
	if err := runDelay(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func startDelay(target string, each time.Duration) (*delay, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &delay{command: exec.Command(path)}
	d.command.Env = append(os.Environ(), delayVariable+"="+target+" "+each.String(), "GOMAXPROCS=64")
	d.command.Stderr = os.Stderr
	if d.stdin, err = d.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		d.stop()
		return nil, fmt.Errorf("the delaying proxy does not start: %w", err)
	}
	d.addr = strings.TrimSpace(line)
	return d, nil
}

func (d *delay) url() string { return "redis://" + d.addr + "/0" }

func (d *delay) stop() {
	_ = d.stdin.Close()
	_ = d.command.Wait()
}

// runDelay serves until the standard input ends.
func runDelay(spec string) error {
	target, text, _ := strings.Cut(spec, " ")
	each, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go delayConnection(client, target, each)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func delayConnection(client net.Conn, target string, each time.Duration) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		_ = client.Close()
		return
	}
	go passOn(client, server, each)
	passOn(server, client, each)
}

// passOn copies from one side to the other, each piece so much later.
func passOn(from, to net.Conn, each time.Duration) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer func() { _ = to.Close() }()
		for p := range pieces {
			pause(time.Until(p.due))
			if _, err := to.Write(p.bytes); err != nil {
				_ = from.Close()
			}
		}
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{buf[:n], time.Now().Add(each)}
		}
		if err != nil {
			return
		}
	}
}
