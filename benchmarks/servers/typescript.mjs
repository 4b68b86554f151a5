// The official TypeScript SDK under load, on the HTTP server of Node.js.
//
//     node typescript.mjs PORT             sessions, revisions up to 2025-11-25: @modelcontextprotocol/sdk
//     node typescript.mjs PORT stateless   revision 2026-07-28: @modelcontextprotocol/server and /node
//
// It answers in JSON, which is its best mode. The easy thing to get wrong is what is made for each request: in
// sessions, a server and a transport are made once for each session; the stateless SDK makes a server for each
// request by itself.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { z } from 'zod';

const HOST = '127.0.0.1';
const [port, mode] = process.argv.slice(2);

const tool = {
  description: 'Return the text.',
  inputSchema: z.object({ text: z.string() }),
  outputSchema: z.object({ result: z.string() }),
};

async function echo({ text }) {
  return { content: [{ type: 'text', text }], structuredContent: { result: text } };
}

async function listenerWithSessions() {
  const { McpServer } = await import('@modelcontextprotocol/sdk/server/mcp.js');
  const { StreamableHTTPServerTransport } = await import('@modelcontextprotocol/sdk/server/streamableHttp.js');
  const transports = new Map();

  async function openSession() {
    const server = new McpServer({ name: 'bench', version: '1' });
    server.registerTool('echo', tool, echo);
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: true,
      onsessioninitialized: (id) => transports.set(id, transport),
      onsessionclosed: (id) => transports.delete(id),
    });
    await server.connect(transport);
    return transport;
  }

  return async (request, response) => {
    const id = request.headers['mcp-session-id'];
    const transport = id === undefined ? await openSession() : transports.get(id);
    if (transport === undefined) {
      response.writeHead(404).end();
      return;
    }
    await transport.handleRequest(request, response);
  };
}

async function statelessListener() {
  const { McpServer, createMcpHandler } = await import('@modelcontextprotocol/server');
  const { toNodeHandler } = await import('@modelcontextprotocol/node');

  function newServer() {
    const server = new McpServer({ name: 'bench', version: '1' });
    server.registerTool('echo', tool, echo);
    return server;
  }

  return toNodeHandler(createMcpHandler(newServer, { responseMode: 'json' }));
}

const listener = await (mode === 'stateless' ? statelessListener() : listenerWithSessions());
createServer(listener).listen(Number(port), HOST);
