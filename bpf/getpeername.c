/*
 * getpeername4, getpeername6: the process sees what it dialled, not our door.
 *
 * When we are wrong: without a remembered flow the kernel's own answer stands.
 */
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	__u32 ip4;

	if (!flow || !is_mapped(&flow->destination))
		return 1;
	__builtin_memcpy(&ip4, &flow->destination.ip[12], 4);
	ctx->user_ip4 = ip4;
	ctx->user_port = flow->destination.port;
	return 1;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	__u32 words[4];

	if (!flow)
		return 1;
	__builtin_memcpy(words, flow->destination.ip, 16);
	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
	ctx->user_port = flow->destination.port;
	return 1;
}
