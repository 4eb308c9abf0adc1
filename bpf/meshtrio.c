/*
 * All programs, in the order in which a connection meets them. bcc makes every non-static function
 * a program of its own. bcc does not rewrite map methods in included files, so
 * meshtrio/intercept/program.py flattens this into one text first.
 */
#include "include/layout.h"
#include "include/reasons.h"
#include "include/decide.h"
#include "include/maps.h"
#include "include/seen.h"
#include "berths.c"
#include "grants.c"
#include "direct.c"
#include "outbound.c"
#include "direct_udp.c"
#include "connect.c"
#include "sendmsg.c"
#include "getpeername.c"
#include "recvmsg.c"
#include "sockops.c"
#include "post_bind.c"
#include "sk_lookup.c"
