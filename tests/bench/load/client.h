/* What the parts of the client share. It has one target and one thread, so these are plain globals. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <sys/epoll.h>

#include "tally.h"

extern unsigned long errors;
extern char chunk[CHUNK_BYTES];
extern unsigned message_bytes;

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

/* Who opens and closes, and how long that took. */
struct churn {
	struct tally connecting, first, whole;
	uint64_t *began; /* by descriptor */
	int poller;
	unsigned long done;
};

struct churn new_churn(void);

/* Open, wait for the first byte, close, so many at a time. Afterwards all are closed, and counted. */
void open_and_close(struct churn *churn, unsigned connections, uint64_t run_ns, unsigned long most);

struct moved {
	uint64_t bytes;
	uint64_t ns;
};

/* As many bytes as go through a connection of their own, which is closed afterwards. */
struct moved move_bytes(enum purpose purpose, uint64_t run_ns);

void run_connect(unsigned connections, uint64_t run_ns, unsigned long most);
void run_messages(unsigned connections, uint64_t run_ns);
void run_rate(unsigned connections, uint64_t run_ns, unsigned rate, uint64_t window_ns);
void run_bulk(enum purpose purpose, uint64_t run_ns);
void run_slots(const char *what, unsigned long number);

#endif
