/*
 * Messages there and back at fixed times, in windows.
 *
 * In a window message k is due at start + k / rate on connection k modulo connections, and its time runs
 * from then on, sent or not: a stall is counted for all that should have been sent in it (what is known as
 * coordinated omission otherwise). The next window begins a new schedule when all answers are there, so
 * that what a stall leaves behind is no window's but its own. Connections stay.
 *
 * For each window it is read how much the host took in it, and all is printed, in order: what to make of
 * that is decided by who reads it (windows.py).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>

#include "client.h"
#include "stolen.h"

#define PATIENCE_NS (2 * NS)
#define NAP_NS (NS / 500)
#define MOST_WINDOWS 100000

/* All of a window. Messages are counted from 0 in each, on all connections together. */
struct window {
	uint64_t start, gap_ns, stop, scheduled, most, done;
};

static struct caller *callers;
static unsigned callers_count;
static int poller;
static struct tally trips, late;

static void take_answers(struct window *w, unsigned number)
{
	struct caller *caller = &callers[number];
	ssize_t got;

	push(caller);
	while ((got = recv(caller->fd, chunk, sizeof(chunk), 0)) > 0) {
		uint64_t before = caller->received / message_bytes, now = now_ns();

		caller->received += got;
		for (uint64_t k = before; k < caller->received / message_bytes; k++, w->done++)
			record(&trips, now - (w->start + (number + k * callers_count) * w->gap_ns));
	}
	must(got < 0 && errno == EAGAIN, "recv");
}

static void send_what_is_due(struct window *w, uint64_t now)
{
	for (; w->scheduled < w->most && w->start + w->scheduled * w->gap_ns <= now; w->scheduled++) {
		struct caller *caller = &callers[w->scheduled % callers_count];

		record(&late, now - (w->start + w->scheduled * w->gap_ns));
		caller->due++;
		push(caller);
	}
}

static void run_window(struct window *w)
{
	struct epoll_event events[64];
	uint64_t now;

	for (unsigned i = 0; i < callers_count; i++)
		callers[i] = (struct caller){.fd = callers[i].fd}; /* nothing is on its way */
	/* Everything that was due is sent, also when we slept through the end: a stall there counts as well. */
	while (w->scheduled < w->most || w->done < w->most) {
		now = now_ns();
		if (now > w->stop + PATIENCE_NS)
			break;
		send_what_is_due(w, now);
		uint64_t wake = w->scheduled < w->most ? w->start + w->scheduled * w->gap_ns : w->stop + PATIENCE_NS;
		uint64_t sleep_ns = wake > (now = now_ns()) ? wake - now : 0;
		struct timespec sleep = {.tv_sec = sleep_ns / NS, .tv_nsec = sleep_ns % NS};
		int count = epoll_pwait2(poller, events, 64, &sleep, NULL);

		for (int i = 0; i < count; i++)
			take_answers(w, events[i].data.u32);
	}
}

static void print_windows(uint64_t count, const uint32_t *firsts, const uint64_t *taken_us)
{
	for (uint64_t i = 0; i < count; i++) {
		uint32_t end = i + 1 < count ? firsts[i + 1] : trips.count;

		printf("%s{\"stolen_us\": %lu, \"trips_ns\": [", i ? ", " : "", (unsigned long)taken_us[i]);
		for (uint32_t k = firsts[i]; k < end; k++)
			printf("%s%u", k > firsts[i] ? ", " : "", trips.durations_ns[k]);
		printf("]}");
	}
}

void run_rate(unsigned connections, uint64_t run_ns, unsigned rate, uint64_t window_ns)
{
	static uint32_t firsts[MOST_WINDOWS];
	static uint64_t taken_us[MOST_WINDOWS];
	struct timespec nap = {.tv_nsec = NAP_NS};
	uint64_t gap_ns = NS / rate, done = 0, spent_ns = 0, count = run_ns / window_ns;
	int exact = open_stolen();

	must(count >= 1 && count <= MOST_WINDOWS && window_ns >= gap_ns, "windows");
	trips = new_tally("roundtrip");
	late = new_tally("late");
	callers_count = connections;
	callers = open_callers(connections, &poller);
	uint64_t before_us = stolen_us();
	for (uint64_t i = 0; i < count && !errors; i++) {
		uint64_t start = now_ns() + NS / 1000;
		struct window w = {.start = start, .gap_ns = gap_ns, .stop = start + window_ns, .most = window_ns / gap_ns};

		firsts[i] = trips.count;
		run_window(&w);
		/* What never came back counts as slow as can be: it must not make the percentiles better. */
		for (uint64_t k = w.done; k < w.most; k++, errors++)
			record(&trips, UINT32_MAX);
		done += w.done;
		spent_ns += window_ns;
		/* Whoever still runs goes to sleep meanwhile, and with that the scheduler reads the clock. */
		nanosleep(&nap, NULL);
		uint64_t after_us = stolen_us();
		taken_us[i] = after_us - before_us;
		before_us = after_us;
	}
	printf("{\"operations\": %lu, \"seconds\": %.4f, \"errors\": %lu, \"per_second\": %.1f, \"exact\": %d, "
	       "\"windows\": [",
	       (unsigned long)done, (double)spent_ns / NS, errors, done / ((double)spent_ns / NS), exact);
	print_windows(spent_ns / window_ns, firsts, taken_us);
	printf("]");
	print_tally(&trips);
	print_tally(&late);
	printf("}\n");
}
