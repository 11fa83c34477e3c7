// Node's HTTP module by its quiet door. An ES import of `node:http` reads every name the module has, and three of them (WebSocket, CloseEvent,
// MessageEvent) load undici when they are read: 4 MiB of memory for what kexer never calls (measured with Node 24.21). So nothing else in
// kexer imports values from `node:http`; types cost nothing.

import type { Agent as NodeAgent, ServerResponse as NodeServerResponse } from 'node:http';

export const { Agent, createServer, request, ServerResponse, STATUS_CODES, validateHeaderName, validateHeaderValue } =
  process.getBuiltinModule('node:http');

export type Agent = NodeAgent;
export type ServerResponse = NodeServerResponse;
