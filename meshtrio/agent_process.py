"""Shell. The agent as a process of its own: `python -m meshtrio.agent_process START`, begun by the command.

The command line costs 2 MB (click), which an agent would carry for its whole life; so `meshtrio agent`
looks at its flags and then becomes this (agent_start.py). Knows how a process begins and ends; agent.py knows
the rest.
"""

import signal
import sys

import msgspec
import trio

from meshtrio.admin.server import AdminError
from meshtrio.agent import Agent
from meshtrio.agent_start import Start
from meshtrio.config.environ import configured, environment, named
from meshtrio.config.fault import Faults
from meshtrio.config.load import load
from meshtrio.config.schema import Config
from meshtrio.intercept.bpffs import BpffsError
from meshtrio.intercept.kernel import KernelRefused
from meshtrio.intercept.workload import WorkloadError
from meshtrio.observe import log
from meshtrio.observe.process import give_memory_back
from meshtrio.upkeep import Setting


async def run(start: Start, config: Config) -> None:
    """Be an agent until a signal ends it.

    AdminError, BpffsError, Faults, KernelRefused or WorkloadError if it cannot begin, perhaps in a group.
    """

    def read_again(text: str) -> Config:
        return named(load(text, environment(), start.flags))

    agent = Agent(Setting(config=config, config_path=start.config_path, read_config=read_again))
    async with trio.open_nursery() as process:
        await process.start(stop_on_signals, agent)
        await agent.run()
        process.cancel_scope.cancel()


async def stop_on_signals(
    agent: Agent, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """End the agent on SIGTERM or SIGINT, and at once on the second one.

    SIGHUP changes nothing: files are followed by themselves.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        seen = 0
        async for number in signals:
            if number == signal.SIGHUP:
                log.info("SIGHUP: files are followed by themselves")
                continue
            seen += 1
            agent.stop(None if seen == 1 else 0.0)


def main() -> int:
    """Live until stopped. 1 and a sentence if that cannot begin, 2 if configuration or catalog are bad."""
    start = msgspec.json.decode(sys.argv[1], type=Start)
    try:
        config = configured(start.config_path or None, start.flags)
        log.set_up(config.log)
        log.name_process("meshtrio-agent")
        if config.identity.source != "off":
            log.keep_memory_private()
        give_memory_back()  # 0.5 MB that importing has left
        trio.run(run, start, config)
    except BaseException as failure:
        # Only a failure needs to know how failures are told.
        from meshtrio.cli.complaint import complaint_of, error_lines

        complaint = complaint_of(failure, (Faults, AdminError, BpffsError, KernelRefused, WorkloadError))
        if complaint is None:
            raise
        sys.stderr.write("".join(f"{line}\n" for line in error_lines(str(complaint))))
        return int(complaint.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
