// The official Go SDK under load, on net/http.
//
//	server [-stateless] PORT
//
// It answers in JSON, which is its best mode. With -stateless it has no sessions, as in revision 2026-07-28. The
// easy thing to get wrong is the number of threads: set GOMAXPROCS=1, since the server has one core.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Arguments of the tool.
type Arguments struct {
	Text string `json:"text"`
}

// Reply is the structured content of its result.
type Reply struct {
	Result string `json:"result"`
}

func echo(_ context.Context, _ *mcp.CallToolRequest, arguments Arguments) (*mcp.CallToolResult, Reply, error) {
	content := []mcp.Content{&mcp.TextContent{Text: arguments.Text}}
	return &mcp.CallToolResult{Content: content}, Reply{Result: arguments.Text}, nil
}

func main() {
	stateless := flag.Bool("stateless", false, "serve without sessions")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: server [-stateless] PORT")
	}

	server := mcp.NewServer(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "echo", Description: "Return the text."}, echo)
	handler := mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{JSONResponse: true, Stateless: *stateless},
	)

	mux := http.NewServeMux()
	mux.Handle("/mcp", handler)
	log.Fatal(http.ListenAndServe(net.JoinHostPort("127.0.0.1", flag.Arg(0)), mux))
}
