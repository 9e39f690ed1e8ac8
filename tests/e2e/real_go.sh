#!/bin/bash
# real_go.sh - Go: no libc, its own threads and stacks, goroutines, signals
# for preemption, a collector; alone, and with a child process at each end of a
# pipe.

. "$(dirname "$0")/real_lib.sh"

cat >"$WORK/job.go" <<'END'
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Children that pass on what they are given, and one that is this program.
func through(name string, args ...string) (io.WriteCloser, *bufio.Reader, *exec.Cmd) {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	w, err := c.StdinPipe()
	if err != nil {
		panic(err)
	}
	r, err := c.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err = c.Start(); err != nil {
		panic(err)
	}
	return w, bufio.NewReader(r), c
}

func answer() {
	in := bufio.NewScanner(os.Stdin)
	for n := 1; in.Scan(); n++ {
		fmt.Printf("%d:%s\n", n, in.Text())
	}
}

// Each is asked by a goroutine of its own, all the time.
func ask(name string, wg *sync.WaitGroup, sum *string, args ...string) {
	defer wg.Done()
	w, r, c := through(name, args...)
	h := sha256.New()
	for i := 0; i < 3000; i++ {
		fmt.Fprintf(w, "question %d\n", i)
		line, err := r.ReadString('\n')
		if err != nil {
			panic(err)
		}
		h.Write([]byte(line))
		time.Sleep(200 * time.Microsecond)
	}
	w.Close()
	rest, _ := io.ReadAll(r)
	*sum = fmt.Sprintf("%x %d %v", h.Sum(nil), len(rest), c.Wait())
}

func main() {
	var wg, kids sync.WaitGroup
	var sums [2]string
	if len(os.Args) > 1 && os.Args[1] == "answer" {
		answer()
		return
	}
	if len(os.Args) > 1 {
		kids.Add(2)
		go ask(os.Args[0], &kids, &sums[0], "answer")
		go ask("cat", &kids, &sums[1])
	}
	in := make(chan int)
	out := make([][32]byte, 64)
	for w := 0; w < 8; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range in {
				h := sha256.Sum256([]byte{byte(n)})
				for i := 0; i < 120000; i++ {
					b := append([]byte(nil), h[:]...)
					h = sha256.Sum256(b)
				}
				out[n] = h
				time.Sleep(time.Millisecond)
			}
		}()
	}
	for n := range out {
		in <- n
	}
	close(in)
	wg.Wait()
	fmt.Printf("%x\n", sha256.Sum256([]byte(fmt.Sprint(out))))
	kids.Wait()
	fmt.Println(sums)
}
END
mkdir "$WORK/cache"
export GOCACHE=$WORK/cache HOME=$WORK GOFLAGS=-mod=mod GO111MODULE=off
if command -v go >/dev/null; then
	(cd "$WORK" && CGO_ENABLED=0 go build -o job job.go) || exit
elif command -v gccgo >/dev/null; then
	gccgo -O2 -o "$WORK/job" "$WORK/job.go" || exit
else
	skip_all "neither go nor gccgo is installed"
fi
real "goroutines" "$WORK/job"
real "goroutines that talk to child processes" "$WORK/job" children
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
