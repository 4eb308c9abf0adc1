/*
 * Where it is kept what the hooks know of direct connections: in berths, an array, at the number of the
 * socket's cookie; or, where another socket has that berth, in direct_live. Cookies are given one after the
 * other, so that happens to one of forty while a hundred live. To put an entry into a hash and to take it out
 * is what a connection would pay most for. No program of its own.
 *
 * When we are wrong: what fits nowhere is not followed (FULL_LIVE).
 */
static __always_inline struct berth *berth_of(__u64 cookie)
{
	__u32 index = (__u32)(cookie % BERTHS);

	return direct_berths.lookup(&index);
}

/* How many are in direct_live, or more: what the agent takes out is not taken off. Mostly none. */
static __always_inline __u64 *crowd(void)
{
	__u32 zero = 0;

	return direct_crowd.lookup(&zero);
}

/*
 * Let nobody else have a berth. 0: somebody has it, or another processor tries at this moment, and may fail as
 * well. Before 5.12 an atomic addition does not say what it found; but of two that add, the later one sees both.
 */
static __always_inline int is_claimed(struct berth *berth)
{
	/* Also if the agent has emptied it at the very moment of a try, which leaves less than none: it stays unused. */
	if (berth->claims)
		return 0;
	__sync_fetch_and_add(&berth->claims, 1);
	if (*(volatile __u32 *)&berth->claims == 1)
		return 1;
	__sync_fetch_and_add(&berth->claims, -1);
	return 0;
}

static __always_inline void forget_in_crowd(__u64 cookie)
{
	__u64 *others = crowd();

	if (others && *others && !direct_live.delete(&cookie))
		__sync_fetch_and_add(others, -1);
}

/* What is known of a socket's connection; NULL: nothing. */
static __always_inline struct followed *followed_of(__u64 cookie)
{
	struct berth *berth = berth_of(cookie);
	__u64 *others = crowd();
	struct followed *found;

	if (berth && berth->cookie == cookie)
		return &berth->followed;
	if (!others || !*others)
		return NULL;
	found = direct_live.lookup(&cookie);
	/* So that nobody adds to it before asking whether it is NULL, which no verifier allows. */
	asm volatile("" : "+r"(found));
	return found;
}

/* Forget a socket's connection. */
static __always_inline void forget(__u64 cookie)
{
	struct berth *berth = berth_of(cookie);

	if (!berth || berth->cookie != cookie) {
		forget_in_crowd(cookie);
		return;
	}
	*(volatile __u64 *)&berth->cookie = 0;
	__sync_fetch_and_add(&berth->claims, -1);
}

/* Know this of a socket's connection, and nothing else. 0: there is no room. */
static __always_inline int keep(__u64 cookie, const struct followed *followed)
{
	struct berth *berth = berth_of(cookie);
	__u64 *others = crowd();

	/* It may have connected before, when its berth was another's. */
	forget_in_crowd(cookie);
	if (berth && (berth->cookie == cookie || is_claimed(berth))) {
		berth->followed = *followed;
		*(volatile __u64 *)&berth->cookie = cookie;
		return 1;
	}
	if (!others)
		return 0;
	/* Before it is there, so that whoever looks for it does look. */
	__sync_fetch_and_add(others, 1);
	if (!direct_live.update(&cookie, followed))
		return 1;
	__sync_fetch_and_add(others, -1);
	return 0;
}
