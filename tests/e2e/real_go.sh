#!/bin/bash
# real_go.sh - Go: no libc, its own threads and stacks, goroutines, signals
# for preemption, a collector.

. "$(dirname "$0")/real_lib.sh"

cat >"$WORK/job.go" <<'END'
package main

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

func main() {
	var wg sync.WaitGroup
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
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
