// What the conformance suite asks of a server, in both eras, on the TypeScript SDK: its tools, resources and prompts. It
// asks its client for nothing in the older era, as it holds no sessions. Says its address on a line of its own.

import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server, createMcpHandler } from '@modelcontextprotocol/server';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';
const KEY = 'a key for tests';

const text = (text) => ({ type: 'text', text });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const content = (...content) => ({ content });
const embedded = (uri, mimeType, text) => ({ type: 'resource', resource: { uri, mimeType, text } });
const object = (properties = {}, required = []) => ({ type: 'object', properties, required });
const string = { type: 'string' };

const asked = (method, params) => ({ method, params });
const form = (message, properties, required = Object.keys(properties)) =>
  asked('elicitation/create', { message, requestedSchema: { type: 'object', properties, required } });
const sampling = (question, maxTokens) =>
  asked('sampling/createMessage', { messages: [{ role: 'user', content: text(question) }], maxTokens });
const roots = asked('roots/list', {});
const needs = (inputRequests, state) => ({
  resultType: 'input_required',
  inputRequests,
  ...(state !== undefined && { requestState: sealed(state) }),
});

/** A state that nobody else could have written. */
function sealed(state) {
  return `${state}.${createHmac('sha256', KEY).update(state).digest('base64url')}`;
}

function opened(sealedState) {
  const state = sealedState?.split('.')[0];
  if (state !== undefined && sealed(state) !== sealedState) throw invalid('the state is not one of ours');
  return state;
}

const invalid = (message, data) => Object.assign(new Error(message), { code: -32602, data });

const SCHEMA_2020 = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: string, city: string } } },
  properties: {
    name: string,
    address: { $ref: '#/$defs/address' },
    contactMethod: { ...string, enum: ['phone', 'email'] },
    phone: string,
    email: string,
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};

/** Each tool: what its arguments look like, and what it does with them. */
const TOOLS = {
  test_simple_text: [object(), () => content(text('This is a simple text response for testing.'))],
  test_image_content: [object(), () => content(image)],
  test_audio_content: [object(), () => content({ type: 'audio', data: WAV, mimeType: 'audio/wav' })],
  test_embedded_resource: [
    object(),
    () => content(embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')),
  ],
  test_multiple_content_types: [
    object(),
    () => {
      const resource = embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}');
      return content(text('Multiple content types test:'), image, resource);
    },
  ],
  test_tool_with_logging: [
    object(),
    async (_, ctx) => {
      for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
        await ctx.mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } });
        await sleep(50);
      }
      return content(text('It was logged.'));
    },
  ],
  test_tool_with_progress: [
    object(),
    async (_, ctx) => {
      const progressToken = ctx.mcpReq._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        const params = { progressToken, progress, total: 100 };
        if (progressToken !== undefined) await ctx.mcpReq.notify({ method: 'notifications/progress', params });
        await sleep(50);
      }
      return content(text('It went on.'));
    },
  ],
  test_error_handling: [
    object(),
    () => ({ ...content(text('This tool intentionally returns an error for testing')), isError: true }),
  ],
  json_schema_2020_12_tool: [SCHEMA_2020, (args) => content(text(JSON.stringify(args)))],
  // What the scenarios about tasks call: quick, slow, and wrong in two ways.
  greet: [object({ name: string }), ({ name }) => content(text(`Hello, ${name}!`))],
  slow_compute: [
    object({ seconds: { type: 'number' }, label: string }),
    async ({ seconds = 0 }) => {
      await sleep(seconds * 1000);
      return content(text(`It took ${seconds} s.`));
    },
  ],
  failing_job: [object(), () => ({ ...content(text('The job failed.')), isError: true })],
  protocol_error_job: [
    object(),
    () => {
      throw Object.assign(new Error('The job broke.'), { code: -32603 });
    },
  ],
  test_input_required_result_elicitation: [
    object(),
    (_, { inputs }) => {
      const name = inputs.user_name?.content?.name;
      if (typeof name !== 'string') return needs({ user_name: form('What is your name?', { name: string }) });
      return content(text(`Hello, ${name}!`));
    },
  ],
  test_input_required_result_sampling: [
    object(),
    (_, { inputs: { capital_question: answer } }) =>
      answer ? content(text(JSON.stringify(answer))) : needs({ capital_question: sampling('What is the capital of France?', 100) }),
  ],
  test_input_required_result_list_roots: [
    object(),
    (_, { inputs: { client_roots: answer } }) => (answer ? content(text(JSON.stringify(answer))) : needs({ client_roots: roots })),
  ],
  test_input_required_result_request_state: [
    object(),
    (_, { inputs, state }) =>
      inputs.confirm && state === 'confirming'
        ? content(text('state-ok'))
        : needs({ confirm: form('Please confirm', { ok: { type: 'boolean' } }) }, 'confirming'),
  ],
  test_input_required_result_multiple_inputs: [
    object(),
    (_, { inputs }) =>
      inputs.user_name && inputs.greeting && inputs.client_roots
        ? content(text(JSON.stringify(inputs)))
        : needs(
            {
              user_name: form('What is your name?', { name: string }),
              greeting: sampling('Generate a greeting', 50),
              client_roots: roots,
            },
            'asking',
          ),
  ],
  test_input_required_result_multi_round: [
    object(),
    (_, { inputs, state }) => {
      if (inputs.step2 && state === 'second') return content(text('Both steps are done.'));
      if (inputs.step1 && state === 'first') {
        return needs({ step2: form('Step 2: What is your favorite color?', { color: string }) }, 'second');
      }
      return needs({ step1: form('Step 1: What is your name?', { name: string }) }, 'first');
    },
  ],
  test_input_required_result_tampered_state: [
    object(),
    (_, { inputs, state }) =>
      inputs.confirm && state === 'untouched'
        ? content(text('It was not touched.'))
        : needs({ confirm: form('Please confirm', { ok: { type: 'boolean' } }) }, 'untouched'),
  ],
  test_input_required_result_capabilities: [
    object(),
    (_, { inputs, capabilities }) => {
      if (Object.keys(inputs).length > 0) return content(text('Thank you.'));
      const requests = {
        ...(capabilities.elicitation && { user_name: form('What is your name?', { name: string }) }),
        ...(capabilities.sampling && { greeting: sampling('Generate a greeting', 50) }),
        ...(capabilities.roots && { client_roots: roots }),
      };
      return Object.keys(requests).length > 0 ? needs(requests) : content(text('There is nobody to ask.'));
    },
  ],
};

const RESOURCES = {
  'test://static-text': { mimeType: 'text/plain', text: 'This is the content of the static text resource.' },
  'test://static-binary': { mimeType: 'image/png', blob: PNG },
  'test://watched-resource': { mimeType: 'text/plain', text: 'Nothing has happened yet.' },
};

const said = (...contents) => ({ messages: contents.map((content) => ({ role: 'user', content })) });
const argument = (name) => ({ name, required: true });
const PROMPTS = {
  test_simple_prompt: [[], () => said(text('This is a simple prompt for testing.'))],
  test_prompt_with_arguments: [
    [argument('arg1'), argument('arg2')],
    ({ arg1, arg2 }) => said(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  ],
  test_prompt_with_embedded_resource: [
    [argument('resourceUri')],
    ({ resourceUri }) => {
      const resource = embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.');
      return said(resource, text('Please process the embedded resource above.'));
    },
  ],
  test_prompt_with_image: [[], () => said(image, text('Please analyze the image above.'))],
  test_input_required_result_prompt: [
    [],
    (_, { inputs: { user_context: answer } }) =>
      answer
        ? said(text(JSON.stringify(answer)))
        : needs({ user_context: form('What context should the prompt use?', { context: string }) }),
  ],
};

function read(uri) {
  const id = /^test:\/\/template\/(.+)\/data$/.exec(uri)?.[1];
  const data = { id, templateTest: true, data: `Data for ID: ${id}` };
  const found = id ? { mimeType: 'application/json', text: JSON.stringify(data) } : RESOURCES[uri];
  if (!found) throw invalid('Resource not found', { uri });
  return { contents: [{ uri, ...found }] };
}

function reference() {
  const capabilities = { tools: {}, resources: { subscribe: true }, prompts: {}, completions: {}, logging: {} };
  const server = new Server({ name: 'reference', version: '1.0.0' }, { capabilities });
  const description = (name) => name.replaceAll('_', ' ');
  const meant = (ctx) => ({
    ...ctx,
    inputs: ctx.mcpReq.inputResponses ?? {},
    state: opened(ctx.mcpReq.requestState()),
    capabilities: ctx.mcpReq.envelope?.['io.modelcontextprotocol/clientCapabilities'] ?? {},
  });
  server.setRequestHandler('tools/list', () => ({
    tools: Object.entries(TOOLS).map(([name, [inputSchema]]) => ({ name, description: description(name), inputSchema })),
  }));
  server.setRequestHandler('tools/call', ({ params }, ctx) => {
    const tool = TOOLS[params.name];
    if (!tool) throw invalid(`there is no tool ${params.name}`);
    return tool[1](params.arguments ?? {}, meant(ctx));
  });
  server.setRequestHandler('resources/list', () => ({
    resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({ uri, name: uri, description: uri, mimeType })),
  }));
  server.setRequestHandler('resources/templates/list', () => ({
    resourceTemplates: [{ uriTemplate: 'test://template/{id}/data', name: 'template', mimeType: 'application/json' }],
  }));
  server.setRequestHandler('resources/read', ({ params }) => read(params.uri));
  server.setRequestHandler('resources/subscribe', () => ({}));
  server.setRequestHandler('resources/unsubscribe', () => ({}));
  server.setRequestHandler('prompts/list', () => ({
    prompts: Object.entries(PROMPTS).map(([name, [args]]) => ({ name, description: description(name), arguments: args })),
  }));
  server.setRequestHandler('prompts/get', ({ params }, ctx) => {
    const prompt = PROMPTS[params.name];
    if (!prompt) throw invalid(`there is no prompt ${params.name}`);
    return prompt[1](params.arguments ?? {}, meant(ctx));
  });
  server.setRequestHandler('completion/complete', () => ({ completion: { values: ['paris'], total: 1, hasMore: false } }));
  server.setRequestHandler('logging/setLevel', () => ({}));
  return server;
}

const LOCAL = /^(localhost|127\.0\.0\.1)(:\d+)?$/;

const handler = createMcpHandler(reference);
const http = createServer(async (incoming, outgoing) => {
  const origin = incoming.headers.origin?.replace(/^https?:\/\//, '');
  if (![incoming.headers.host, origin ?? 'localhost'].every((name) => LOCAL.test(name))) {
    outgoing.writeHead(403).end();
    return;
  }
  const url = new URL(incoming.url, `http://${incoming.headers.host}`);
  const { method } = incoming;
  const body = method === 'POST' ? Readable.toWeb(incoming) : undefined;
  const request = new Request(url, { method, headers: incoming.headers, body, duplex: 'half' });
  const answer = await handler.fetch(request);
  outgoing.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (answer.body) for await (const chunk of answer.body) outgoing.write(chunk);
  outgoing.end();
});
http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}/mcp`));
