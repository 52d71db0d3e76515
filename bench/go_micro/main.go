// The figures of aramid_bench in Go, printed as Google Benchmark prints its own: one entry for each
// repetition, named <figure>/go, so that one reader takes both.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A figure runs `count` operations and returns what they took, without what it needs to set up.
type figure struct {
	name    string
	threads int
	least   int  // operations in a repetition at least
	once    bool // one operation is a whole run of seconds, not nanoseconds
	run     func(count int) time.Duration
}

func yield(goroutines int) func(int) time.Duration {
	return func(count int) time.Duration {
		each := count/goroutines + 1
		var ready, done sync.WaitGroup
		ready.Add(goroutines)
		done.Add(goroutines)
		start := make(chan struct{})
		for i := 0; i < goroutines; i++ {
			go func() {
				ready.Done()
				<-start
				for j := 0; j < each; j++ {
					runtime.Gosched()
				}
				done.Done()
			}()
		}
		ready.Wait()
		begin := time.Now()
		close(start)
		done.Wait()
		took := time.Since(begin)
		return took * time.Duration(count) / time.Duration(each*goroutines)
	}
}

func spawnJoin(count int) time.Duration {
	var done sync.WaitGroup
	begin := time.Now()
	for i := 0; i < count; i++ {
		done.Add(1)
		go func() { done.Done() }()
		done.Wait()
	}
	return time.Since(begin)
}

func channel(capacity int) func(int) time.Duration {
	return func(count int) time.Duration {
		items := make(chan int, capacity)
		begin := time.Now()
		go func() {
			for i := 0; i < count; i++ {
				items <- i
			}
			close(items)
		}()
		for range items {
		}
		return time.Since(begin)
	}
}

func mutex(count int) time.Duration {
	var lock sync.Mutex
	begin := time.Now()
	for i := 0; i < count; i++ {
		lock.Lock()
		lock.Unlock()
	}
	return time.Since(begin)
}

// One timer armed again and again, as a connection's deadline is: without allocating a new one.
func timerArmCancel(count int) time.Duration {
	timer := time.AfterFunc(time.Hour, func() {})
	timer.Stop()
	begin := time.Now()
	for i := 0; i < count; i++ {
		timer.Reset(time.Hour)
		timer.Stop()
	}
	return time.Since(begin)
}

func skynetNode(result chan<- int, number, size int) {
	if size == 1 {
		result <- number
		return
	}
	children := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetNode(children, number+i*size/10, size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-children
	}
	result <- sum
}

// A million leaves, 1,111,111 goroutines in all.
func skynet(count int) time.Duration {
	const leaves = 1_000_000
	begin := time.Now()
	for i := 0; i < count; i++ {
		result := make(chan int)
		go skynetNode(result, 0, leaves)
		if sum := <-result; sum != leaves*(leaves-1)/2 {
			fmt.Fprintln(os.Stderr, "skynet: wrong sum", sum)
			os.Exit(1)
		}
	}
	return time.Since(begin)
}

// The figures of several threads. How much there is to do is what spread.cpp, parallel_sum.cpp, ticker.cpp and peer_work.hpp say.
const (
	contenders      = 8
	turns           = 4000
	producers       = 4
	manyToOneBuffer = 128
	pairs           = 32
	itemsOfPair     = 4000
	pairBuffer      = 16
	spreadPieces    = 2000
	sumPiece        = 4096
	sumPieces       = 256
	sumCount        = sumPiece * sumPieces
	tick            = 10 * time.Millisecond
	ticks           = 100
)

// Makes a figure of fn, each call of which is `operations` operations.
func inBatches(operations int, fn func()) func(int) time.Duration {
	return func(count int) time.Duration {
		batches := (count + operations - 1) / operations
		begin := time.Now()
		for i := 0; i < batches; i++ {
			fn()
		}
		took := time.Since(begin)
		return time.Duration(float64(took) * float64(count) / float64(batches*operations))
	}
}

// Runs fn(0), fn(1), … side by side.
func sideBySide(goroutines int, fn func(int)) {
	var done sync.WaitGroup
	done.Add(goroutines)
	for i := 0; i < goroutines; i++ {
		go func(i int) {
			fn(i)
			done.Done()
		}(i)
	}
	done.Wait()
}

func takeTurns() {
	var lock sync.Mutex
	sum := 0
	sideBySide(contenders, func(int) {
		for i := 0; i < turns; i++ {
			lock.Lock()
			sum++
			lock.Unlock()
		}
	})
}

func manyToOne(count int) time.Duration {
	items := make(chan int, manyToOneBuffer)
	each := count/producers + 1
	begin := time.Now()
	for i := 0; i < producers; i++ {
		go func() {
			for n := 0; n < each; n++ {
				items <- n
			}
		}()
	}
	for i := 0; i < each*producers; i++ {
		<-items
	}
	took := time.Since(begin)
	return time.Duration(float64(took) * float64(count) / float64(each*producers))
}

func selectOfFour(count int) time.Duration {
	var sources [4]chan int
	for i := range sources {
		source := make(chan int)
		sources[i] = source
		go func() {
			defer func() { _ = recover() }() // the channel is closed at last
			for n := 0; ; n++ {
				source <- n
			}
		}()
	}
	sum := 0
	begin := time.Now()
	for i := 0; i < count; i++ {
		select {
		case n := <-sources[0]:
			sum += n
		case n := <-sources[1]:
			sum += n
		case n := <-sources[2]:
			sum += n
		case n := <-sources[3]:
			sum += n
		}
	}
	took := time.Since(begin)
	for _, source := range sources {
		close(source)
	}
	return took
}

// What a pool comes to: at most so many at once, and the results as they come.
func poolMap(count int) time.Duration {
	places := make(chan struct{}, 100)
	results := make(chan int, 100)
	begin := time.Now()
	go func() {
		for n := 0; n < count; n++ {
			n := n
			places <- struct{}{}
			go func() { results <- n }()
		}
	}()
	sum := 0
	for i := 0; i < count; i++ {
		sum += <-results
		<-places
	}
	return time.Since(begin)
}

const crowd = 100000

// What a context does when it is cancelled, without the context.
func cancelParked(int) time.Duration {
	stop := make(chan struct{})
	var waiting, done sync.WaitGroup
	waiting.Add(crowd)
	done.Add(crowd)
	for i := 0; i < crowd; i++ {
		go func() {
			waiting.Done()
			<-stop
			done.Done()
		}()
	}
	waiting.Wait()
	runtime.Gosched()
	begin := time.Now()
	close(stop)
	done.Wait()
	return time.Since(begin) / crowd
}

func runPair(int) {
	items := make(chan int, pairBuffer)
	go func() {
		for n := 0; n < itemsOfPair; n++ {
			items <- n
		}
		close(items)
	}()
	for range items {
	}
}

// The pieces differ in size by up to four times. Not inlined: a result that nobody wants would not be computed.
//
//go:noinline
func unevenWork(piece int) uint64 {
	x := uint64(piece)*0x9e3779b97f4a7c15 + 1
	rounds := 2000 * (1 + piece%4)
	for i := 0; i < rounds; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

func plainSum(numbers []float64) float64 {
	sum := 0.0
	for _, number := range numbers {
		sum += number
	}
	return sum
}

func forkedSum(numbers []float64) float64 {
	if len(numbers) <= sumPiece {
		return plainSum(numbers)
	}
	half := len(numbers) / 2
	left := make(chan float64, 1)
	go func() { left <- forkedSum(numbers[:half]) }()
	right := forkedSum(numbers[half:])
	return <-left + right
}

func parallelSum(count int) time.Duration {
	numbers := make([]float64, sumCount)
	for i := range numbers {
		numbers[i] = float64(i)
	}
	return inBatches(sumPieces, func() {
		if sum := forkedSum(numbers); sum != sumCount*(sumCount-1)/2 {
			fmt.Fprintln(os.Stderr, "parallel_sum: wrong sum", sum)
			os.Exit(1)
		}
	})(count)
}

// Returns the 99th percentile of how late a ticker is beside a goroutine that never waits.
func tickerLateness(int) time.Duration {
	var stop int32
	go func() {
		for atomic.LoadInt32(&stop) == 0 {
		}
	}()
	late := make([]time.Duration, ticks)
	due := time.Now()
	for i := range late {
		due = due.Add(tick)
		time.Sleep(time.Until(due))
		late[i] = time.Since(due)
	}
	atomic.StoreInt32(&stop, 1)
	sort.Slice(late, func(i, j int) bool { return late[i] < late[j] })
	return late[ticks*99/100-1]
}

func spread()   { sideBySide(spreadPieces, func(piece int) { unevenWork(piece) }) }
func allPairs() { sideBySide(pairs, runPair) }

var figures = []figure{
	{name: "yield/go", threads: 1, run: yield(2)},
	{name: "yield/go/512", threads: 1, least: 32 * 512, run: yield(512)},
	{name: "yield/go/32768", threads: 1, least: 32 * 32768, run: yield(32768)},
	{name: "spawn_join/go", threads: 1, run: spawnJoin},
	{name: "channel_rendezvous/go", threads: 1, run: channel(0)},
	{name: "channel_buffered/go", threads: 1, run: channel(128)},
	{name: "mutex/go", threads: 1, run: mutex},
	{name: "timer_arm_cancel/go", threads: 1, run: timerArmCancel},
	{name: "skynet/go/1", threads: 1, once: true, run: skynet},
	{name: "skynet/go/2", threads: 2, once: true, run: skynet},
	{name: "spread/go/1", threads: 1, run: inBatches(spreadPieces, spread)},
	{name: "spread/go/2", threads: 2, run: inBatches(spreadPieces, spread)},
	{name: "spread/go/8", threads: 8, run: inBatches(spreadPieces, spread)},
	{name: "parallel_sum/go/1", threads: 1, run: parallelSum},
	{name: "parallel_sum/go/2", threads: 2, run: parallelSum},
	{name: "pairs/go/1", threads: 1, run: inBatches(pairs*itemsOfPair, allPairs)},
	{name: "pairs/go/2", threads: 2, run: inBatches(pairs*itemsOfPair, allPairs)},
	{name: "pairs/go/8", threads: 8, run: inBatches(pairs*itemsOfPair, allPairs)},
	{name: "mutex_contended/go", threads: 2, run: inBatches(contenders*turns, takeTurns)},
	{name: "channel_many_to_one/go", threads: 2, run: manyToOne},
	{name: "cancel_parked/go", threads: 1, once: true, run: cancelParked},
	{name: "pool_map/go", threads: 1, run: poolMap},
	{name: "select_4/go", threads: 1, run: selectOfFour},
	{name: "ticker_p99/go", threads: 2, once: true, run: tickerLateness},
}

// Returns how many operations take about `wanted`.
func calibrate(f figure, wanted time.Duration) int {
	if f.once {
		return 1
	}
	for count := 1000 + f.least; ; count *= 4 {
		if took := f.run(count); took > wanted/10 {
			fitting := int(float64(count) * float64(wanted) / float64(took))
			if fitting < f.least {
				return f.least
			}
			return fitting + 1
		}
	}
}

type entry struct {
	Name       string  `json:"name"`
	RunType    string  `json:"run_type"`
	Iterations int     `json:"iterations"`
	RealTime   float64 `json:"real_time"`
	TimeUnit   string  `json:"time_unit"`
}

func main() {
	only := flag.String("only", "", "only figures whose name contains this")
	repetitions := flag.Int("repetitions", 5, "how often each figure is taken, by turns")
	seconds := flag.Float64("seconds", 0.1, "length of one repetition")
	flag.Parse()

	wanted := time.Duration(*seconds * float64(time.Second))
	counts := map[string]int{}
	report := struct {
		Context    map[string]string `json:"context"`
		Benchmarks []entry           `json:"benchmarks"`
	}{Context: map[string]string{"go_version": runtime.Version()}}
	for repetition := 0; repetition < *repetitions; repetition++ {
		for _, f := range figures {
			if !strings.Contains(f.name, *only) {
				continue
			}
			runtime.GOMAXPROCS(f.threads)
			runtime.GC() // what the figure before left behind is not this one's to collect
			if counts[f.name] == 0 {
				counts[f.name] = calibrate(f, wanted)
			}
			count := counts[f.name]
			nanoseconds := float64(f.run(count).Nanoseconds()) / float64(count)
			report.Benchmarks = append(report.Benchmarks,
				entry{f.name, "iteration", count, nanoseconds, "ns"})
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(report); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
