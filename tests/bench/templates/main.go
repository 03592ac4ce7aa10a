// Renders templates with Go's text/template and sprig, as External Secrets does, and says what a render costs.
//
// Standard input: JSON lines {id, data, template}. Standard output: JSON lines {id, nanoseconds, bytes, allocations, out | err},
// per render, parse included. A template that uses a function that sprig does not have answers `err`.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"log"
	"os"
	"runtime"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
)

type workload struct {
	ID       string            `json:"id"`
	Data     map[string]string `json:"data"`
	Template string            `json:"template"`
}

type result struct {
	ID          string  `json:"id"`
	Nanoseconds float64 `json:"nanoseconds"`
	Bytes       float64 `json:"bytes"`
	Allocations float64 `json:"allocations"`
	Out         string  `json:"out"`
	Err         string  `json:"err,omitempty"`
}

func main() {
	budget := flag.Duration("budget", 200*time.Millisecond, "time for each template")
	flag.Parse()
	functions := sprig.TxtFuncMap()
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<24)
	output := json.NewEncoder(os.Stdout)
	output.SetEscapeHTML(false)
	for input.Scan() {
		var work workload
		if err := json.Unmarshal(input.Bytes(), &work); err != nil {
			log.Fatal(err)
		}
		if err := output.Encode(measure(work, functions, *budget)); err != nil {
			log.Fatal(err)
		}
	}
	if err := input.Err(); err != nil {
		log.Fatal(err)
	}
}

func measure(work workload, functions template.FuncMap, budget time.Duration) result {
	out, err := render(work, functions)
	if err != nil {
		return result{ID: work.ID, Err: err.Error()}
	}
	for begin := time.Now(); time.Since(begin) < budget/4; {
		_, _ = render(work, functions)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	count := 0
	begin := time.Now()
	for ; time.Since(begin) < budget; count++ {
		_, _ = render(work, functions)
	}
	spent := time.Since(begin)
	runtime.ReadMemStats(&after)
	per := 1 / float64(count)
	return result{
		ID:          work.ID,
		Nanoseconds: float64(spent.Nanoseconds()) * per,
		Bytes:       float64(after.TotalAlloc-before.TotalAlloc) * per,
		Allocations: float64(after.Mallocs-before.Mallocs) * per,
		Out:         out,
	}
}

func render(work workload, functions template.FuncMap) (string, error) {
	parsed, err := template.New(work.ID).Option("missingkey=error").Funcs(functions).Parse(work.Template)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, work.Data); err != nil {
		return "", err
	}
	return out.String(), nil
}
