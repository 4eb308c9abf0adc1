/*
 * How much the host took, from the kernel's own copy of the hypervisor's clock.
 *
 * The host counts for each core the nanoseconds in which it wanted to run and was not let, and the
 * scheduler copies that count at every wake-up into rq->prev_steal_time_rq (kernel/sched/core.c,
 * update_rq_clock_task). Six instructions of BPF, run on each core in turn, read it: current ->
 * se.cfs_rq -> rq. toolchain.py finds the offsets in the kernel's BTF and defines them. A core that was
 * not woken since is behind, but it did nothing since either.
 *
 * Without BTF or CAP_BPF there is /proc/stat, which says the same in ticks of 10 ms: what is less than
 * a tick is seen in a later window, or not at all.
 */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stolen.h"
#include "wire.h"

#define MOST_CORES 256

static int program = -1;
static int cores;

#ifdef RQ_STEAL
static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

#define LOAD(offset) {.code = BPF_LDX | BPF_DW | BPF_MEM, .dst_reg = 0, .src_reg = 0, .off = (offset)}

static void load_program(void)
{
	struct bpf_insn code[] = {
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_current_task_btf},
		LOAD(TASK_CFS_RQ),
		LOAD(CFS_RQ_RQ),
		LOAD(RQ_STEAL),
		/* What comes back is 32 bits: in 1,024 ns they last for 73 minutes. */
		{.code = BPF_ALU64 | BPF_RSH | BPF_K, .dst_reg = 0, .imm = 10},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
		.insns = (uintptr_t)code,
		.insn_cnt = sizeof(code) / sizeof(code[0]),
		.license = (uintptr_t)"GPL",
	};

	program = bpf(BPF_PROG_LOAD, &attr);
}

static int read_core(int core, uint32_t *units)
{
	union bpf_attr attr = {
		.test = {.prog_fd = program, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = core},
	};
	int wrong = bpf(BPF_PROG_TEST_RUN, &attr);

	*units = attr.test.retval;
	return wrong == 0;
}

static uint64_t read_exact(void)
{
	static uint32_t last[MOST_CORES];
	static uint64_t units;

	for (int core = 0; core < cores; core++) {
		uint32_t now;

		/* A core that is off runs nothing. */
		if (!read_core(core, &now))
			continue;
		units += now - last[core]; /* modulo 2^32 */
		last[core] = now;
	}
	return units * 1024 / 1000;
}
#endif

static uint64_t read_ticks(void)
{
	char line[512];
	unsigned long long ticks = 0;
	FILE *stat = fopen("/proc/stat", "re");

	must(stat && fgets(line, sizeof(line), stat), "/proc/stat");
	must(sscanf(line, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &ticks) == 1, "/proc/stat");
	fclose(stat);
	return ticks * 1000000 / sysconf(_SC_CLK_TCK);
}

int open_stolen(void)
{
	cores = sysconf(_SC_NPROCESSORS_CONF);
#ifdef RQ_STEAL
	if (cores <= MOST_CORES)
		load_program();
#endif
	return program >= 0;
}

uint64_t stolen_us(void)
{
#ifdef RQ_STEAL
	if (program >= 0)
		return read_exact();
#endif
	return read_ticks();
}
