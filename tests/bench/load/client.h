/* What the parts of the client share. It has one target and one thread, so these are plain globals. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <sys/epoll.h>

#include "tally.h"

extern unsigned long errors;
extern char chunk[CHUNK_BYTES];

/* A descriptor, or -1. Blocks in connect() as a plain program does, which is what connect_ns measures. */
int dial(enum purpose purpose, unsigned milliseconds, uint64_t *connect_ns);

/* As dial, and waits until the server has answered, so that the way is open to its end. */
int dial_through(enum purpose purpose, unsigned milliseconds);

void watch(int poller, int fd, struct epoll_event event);

/* One of them. */
struct caller {
	int fd;
	uint64_t due;	   /* messages that should have been sent by now */
	uint64_t sent;	   /* bytes */
	uint64_t received; /* bytes */
	uint64_t sent_at_ns;
};

/* All are open to their end; the poller tells when the one of that number can be read or written. */
struct caller *open_callers(unsigned connections, int *poller);

/* Send what is due, as far as there is room. */
void push(struct caller *caller);

void run_connect(unsigned connections, uint64_t run_ns, unsigned long most);
void run_messages(unsigned connections, uint64_t run_ns);
void run_rate(unsigned connections, uint64_t run_ns, unsigned rate, uint64_t window_ns);
void run_bulk(enum purpose purpose, uint64_t run_ns);

#endif
