// Load test @NAME@, written by `sentinel export` for k6.
//
// Run it:  k6 run THIS_FILE    (add -e TARGET=http://host:port to aim elsewhere)
//
// What this export loses:
@LOSSES@

import http from 'k6/http';
import exec from 'k6/execution';
import { sleep } from 'k6';
import { Rate, Trend } from 'k6/metrics';

const TARGET = __ENV.TARGET || @TARGET@;
export const options = @OPTIONS@;
const PLAN = @PLAN@;

const APPLICATIONS = Object.fromEntries(PLAN.applications.map((one) => [one.name, one]));
const WORDS = 'amber birch cedar dew elm fern glade heath ivy juniper lake moss oak pine reed sage'.split(' ');
const failed = new Rate('failed');
const refused = new Rate('refused');
const answered = new Trend('answered', true); // response times, called-for refusals apart
const users = {};
const PLACEHOLDER = /\{([a-z_][a-z0-9_]*)\}/g;

export default async function () {
  const user = userOf(exec.scenario.iterationInTest % PLAN.users.count);
  const session = { values: { session: String(exec.scenario.iterationInTest) }, user, undo: [], background: [] };
  await play(APPLICATIONS[drawn(PLAN.mix)], session);
  await Promise.all(session.background);
  for (const [method, path, headers] of session.undo) {
    http.request(method, TARGET + path, null, { headers, tags: { name: 'clean-up' } });
  }
}

function userOf(number) {
  if (!users[number]) {
    const at = number + 1;
    const tenants = PLAN.users.tenants;
    const values = {
      user: String(number),
      tenant: tenants[number % tenants.length],
      address: `10.${(at >> 16) & 255}.${(at >> 8) & 255}.${at & 255}`,
      token: '',
    };
    users[number] = { values, completed: {} };
    values.token = fill(PLAN.users.token, { values: {}, user: users[number] });
  }
  return users[number];
}

async function play(application, session) {
  for (const name of application.requires) {
    if (!session.user.completed[name]) {
      if (!(await play(APPLICATIONS[name], session))) return false;
      session.user.completed[name] = true;
    }
  }
  const steps = application.steps;
  for (let place = 0; place < steps.length; ) {
    const group = [steps[place]];
    while (
      group[0].mode === 'parallel' &&
      place + group.length < steps.length &&
      steps[place + group.length].mode === 'parallel'
    ) {
      group.push(steps[place + group.length]);
    }
    place += group.length;
    if (group[0].mode === 'background') {
      session.background.push(step(application.name, group[0], session));
      continue;
    }
    const went = await Promise.all(group.map((one) => step(application.name, one, session)));
    if (!went.every(Boolean)) return false;
  }
  return true;
}

async function step(application, one, session) {
  if (Math.random() >= one.probability) return true;
  if (one.pause[0]) sleep(about(one.pause[0], one.pause[1]));
  const [times, every, variance] = one.repeat;
  for (let turn = 0; turn < times; turn++) {
    if (turn && every) sleep(about(every, variance));
    if (!(await send(application, one, session))) return false;
  }
  return true;
}

async function send(application, one, session) {
  const headers = {};
  for (const [name, text] of [...PLAN.users.headers, ...one.headers]) {
    const value = fill(text, session);
    if (value) headers[name] = value;
  }
  const body = one.payload_bytes ? new Uint8Array(one.payload_bytes).buffer : fill(one.body, session, true) || null;
  const response = await http.asyncRequest(one.method, TARGET + fill(one.path, session), body, {
    headers,
    redirects: 0,
    timeout: `${PLAN.timeout_s}s`,
    tags: { application, step: one.name, name: `${application}/${one.name}` },
  });
  return judge(application, one, session, response, headers);
}

function judge(application, one, session, response, headers) {
  const tags = { application, step: one.name };
  const expect = one.expect;
  const wanted = expect.status;
  if (response.status === 429 && !wanted.includes(429) && expect.refusals !== 'forbidden') {
    failed.add(false, tags);
    refused.add(true, tags);
    return false; // a refusal that is called for is no error
  }
  const good = wanted.length ? wanted.includes(response.status) : response.status >= 200 && response.status < 300;
  const holds = !expect.contains || String(response.body || '').includes(expect.contains);
  const well = good && holds && expect.refusals !== 'required' && extract(one, session, response);
  answered.add(response.timings.duration, tags);
  refused.add(false, tags);
  failed.add(!well, tags);
  if (well && one.undo) {
    const names = [...one.undo[1].matchAll(PLACEHOLDER)].map((found) => found[1]);
    if (names.every((name) => session.values[name] || session.user.values[name])) {
      session.undo.push([one.undo[0], fill(one.undo[1], session), headers]);
    }
  }
  return well;
}

function extract(one, session, response) {
  for (const [name, path, header, pattern, required] of one.extract) {
    let value = null;
    if (header) {
      const found = Object.keys(response.headers).find((key) => key.toLowerCase() === header.toLowerCase());
      value = found ? response.headers[found] : null;
    } else if (pattern) {
      const found = new RegExp(pattern).exec(response.body || '');
      value = found ? found[1] : null;
    } else {
      try {
        value = path.split('.').reduce((inside, part) => inside[part], JSON.parse(response.body));
      } catch (error) {
        value = null;
      }
    }
    if (value !== null && value !== undefined) {
      session.values[name] = session.user.values[name] = String(value);
    } else if (required) {
      return false;
    }
  }
  return true;
}

function fill(text, session, insideJson = false) {
  return text.replace(PLACEHOLDER, (_, name) => {
    const known = name in session.values || name in session.user.values;
    if (!known && PLAN.variables[name]) session.values[name] = madeUp(PLAN.variables[name]);
    const value = session.values[name] || session.user.values[name] || '';
    return insideJson ? JSON.stringify(value).slice(1, -1) : value;
  });
}

function madeUp(source) {
  const below = (limit) => Math.floor(Math.random() * limit);
  if (source.kind === 'number') return String(source.low + below(source.high - source.low + 1));
  if (source.kind === 'choice') return source.of[below(source.of.length)];
  if (source.kind === 'text') return Array.from({ length: source.words }, () => WORDS[below(WORDS.length)]).join(' ');
  return Array.from({ length: source.digits }, () => below(16).toString(16)).join('');
}

function about(middle, variance) {
  return Math.max(0, middle + variance * (2 * Math.random() - 1));
}

function drawn(mix) {
  const names = Object.keys(mix);
  let left = Math.random() * names.reduce((sum, name) => sum + mix[name], 0);
  for (const name of names) {
    left -= mix[name];
    if (left < 0) return name;
  }
  return names[names.length - 1];
}
