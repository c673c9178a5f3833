import { type VmEvent, eventTypeNames, eventTypePrefix, eventTypes } from '@vmpulse/wire';
import { expect, it } from 'vitest';
import facts from '../../../test/fixtures/virtual-server-api.json' with { type: 'json' };
import { HResult, type VirtualMachine, type VirtualServer, VMVMState } from './index.ts';
import { type VirtualServerSink, machineRoutes, serverRoutes, typesOf } from './sink.ts';

const methodsOf = (routes: Readonly<Record<string, { method: string }>>): string[] =>
  Object.values(routes).map((route) => route.method);

const camelCase = (name: string): string => `${name.charAt(0).toLowerCase()}${name.slice(1)}`;

it.each([
  ['server', facts.interfaces.IVMVirtualServerEvents, serverRoutes],
  ['machine', facts.interfaces.IVMVirtualMachineEvents, machineRoutes],
])(
  'every method of the original event interface of a %s is called by an event',
  (_kind, original, routes) => {
    for (const method of Object.keys(original.methods))
      expect(methodsOf(routes)).toContain(camelCase(method));
  },
);

it('every event type that has a number of the original reaches the sink of that kind', () => {
  for (const type of eventTypeNames) {
    if (eventTypes[type].server !== undefined) expect(serverRoutes).toHaveProperty(type);
    if (eventTypes[type].machine !== undefined) expect(machineRoutes).toHaveProperty(type);
  }
});

it('every message id is told by OnServiceEvent or OnEventLogged, as the type of its event says', () => {
  const types = eventTypeNames.filter(
    (type) => eventTypes[type].server === 1 || eventTypes[type].server === 3,
  );
  for (const type of types) {
    const method = eventTypes[type].server === 1 ? 'onServiceEvent' : 'onEventLogged';
    const told: unknown[] = [];
    const sink = { [method]: (id: number) => void told.push(id) };
    const data = { messageId: 77, machines: [], vms: [] };
    const event = { seq: 1, type: `${eventTypePrefix}${type}`, data } as unknown as VmEvent;
    void serverRoutes[type]?.call(sink, event);
    expect([type, ...told]).toEqual([type, 77]);
  }
  expect(types.length).toBeGreaterThan(20);
});

it('a sink asks for the types it has methods for, or for all', () => {
  expect(typesOf<VirtualServerSink>({ onServiceEvent: () => undefined }, serverRoutes)).toEqual([
    'serviceStarted',
    'serviceStopped',
  ]);
  expect(typesOf<VirtualServerSink>({}, serverRoutes)).toEqual([]);
  expect(typesOf<VirtualServerSink>({ onEvent: () => undefined }, serverRoutes)).toBeUndefined();
});

// What programs write must compile; it is never called.
export async function sample(server: VirtualServer): Promise<void> {
  const connection = server.advise({
    onHeartbeatStopped(virtualMachineConfig) {
      const name: string = virtualMachineConfig;
      console.log(name);
      return HResult.S_OK;
    },
    onVMStateChange(virtualMachineConfig, state) {
      if (state === VMVMState.vmVMState_Running) console.log(virtualMachineConfig);
    },
    async onHeartbeatResumed(name, event) {
      await Promise.resolve(`${name} ${event.data.outageMs}`);
    },
    onEvent: () => Promise.resolve(HResult.S_FALSE),
  });
  const vm: VirtualMachine = await server.findVirtualMachine('web-1');
  vm.advise({
    onHeartbeatStopped(event) {
      console.log(event.data.evidence.silenceMs);
    },
  });
  // @ts-expect-error -- a misspelt method must not compile
  server.advise({ onHeartbeatStoped: () => undefined });
  // @ts-expect-error -- a machine's sink gets no name
  vm.advise({ onHeartbeatStopped: (_name: string) => undefined });
  await connection.unadvise();
}
