/*
 * Work in slots, and sleep between them: so clients that go different ways can take turns in milliseconds while
 * all of them live, and what disturbs one disturbs the others.
 *
 *   connect NUMBER     open, wait for the first byte, close, so many at a time
 *   roundtrip NUMBER   so many bytes there and back, one after the other, on one connection that stays
 *   up|down 0          as many bytes as go through, on one connection a slot
 *
 * Each line of standard input is a slot, in milliseconds. It is answered by what was done in it (connections,
 * round trips, bytes), in how long, and how long this process had the processor.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

static uint64_t processor_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

static void there_and_back(int fd, size_t bytes)
{
	size_t left = bytes;

	must(send(fd, chunk, bytes, MSG_NOSIGNAL) == (ssize_t)bytes, "send");
	while (left) {
		ssize_t got = recv(fd, chunk, left, 0);

		must(got > 0, "recv");
		left -= got;
	}
}

void run_slots(const char *what, unsigned long number)
{
	int connecting = !strcmp(what, "connect"), asking = !strcmp(what, "roundtrip");
	enum purpose purpose = !strcmp(what, "up") ? UP : DOWN;
	struct churn churn = {0};
	char line[32];
	int fd = -1;

	must(connecting || asking || purpose == UP || !strcmp(what, "down"), what);
	must(number <= CHUNK_BYTES, "bytes");
	if (connecting)
		churn = new_churn();
	if (asking)
		must((fd = dial_through(ECHO, 0)) >= 0, "dial");
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t run_ns = strtoul(line, NULL, 10) * (NS / 1000), done = 0;

		alarm(15);
		uint64_t start = now_ns(), worked = processor_ns();
		if (connecting) {
			churn.done = 0;
			open_and_close(&churn, number, run_ns, -1ul);
			done = churn.done;
		} else if (asking) {
			for (; now_ns() - start < run_ns; done++)
				there_and_back(fd, number);
		} else {
			done = move_bytes(purpose, run_ns).bytes;
		}
		uint64_t spent = processor_ns() - worked, ns = now_ns() - start;
		alarm(0);
		printf("{\"operations\": %lu, \"ns\": %lu, \"processor_ns\": %lu, \"errors\": %lu}\n",
		       (unsigned long)done, (unsigned long)ns, (unsigned long)spent, errors);
		fflush(stdout);
	}
}
