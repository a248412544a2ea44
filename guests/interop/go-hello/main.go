// A preview 1 command from Go: arguments, environment, stdin, files, time, goroutines, an exit code.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

const usage = "usage: go-hello [echo WORD... | env | cat | read FILE | ls DIR | sleep DURATION | sum N | exit CODE | spin | panic]"

func main() {
	if len(os.Args) < 2 {
		fmt.Println("Hello from Go!")
		return
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch {
	case verb == "echo":
		for i, word := range args {
			if i > 0 {
				fmt.Print(" ")
			}
			fmt.Print(word)
		}
		fmt.Println()
	case verb == "env":
		for _, pair := range os.Environ() {
			fmt.Println(pair)
		}
	case verb == "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case verb == "read" && len(args) == 1:
		bytes, err := os.ReadFile(args[0])
		os.Stdout.Write(bytes)
		return err
	case verb == "ls" && len(args) == 1:
		entries, err := os.ReadDir(args[0])
		for _, entry := range entries {
			fmt.Println(entry.Name())
		}
		return err
	case verb == "sleep" && len(args) == 1:
		pause, err := time.ParseDuration(args[0])
		time.Sleep(pause)
		return err
	case verb == "sum" && len(args) == 1:
		return sum(args[0])
	case verb == "exit" && len(args) == 1:
		code, err := strconv.Atoi(args[0])
		if err == nil {
			os.Exit(code)
		}
		return err
	case verb == "spin":
		for {
		}
	case verb == "panic":
		panic("asked to panic")
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	return nil
}

// sum adds 1 to n in as many goroutines: Go's scheduler on one Wasm thread.
func sum(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	results := make(chan int, max(n, 1))
	for i := 1; i <= n; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			results <- i
		}()
	}
	group.Wait()
	close(results)
	total := 0
	for value := range results {
		total += value
	}
	fmt.Println(total)
	return nil
}
