/*
 * restore_rights.c - CAP_CHECKPOINT_RESTORE, in effect only where it is needed.
 *
 * It lets one choose pids, and ids of System V IPC (see restore_ipc.c), and that
 * is what it was lent for.  But its holder may also follow /proc/PID/map_files,
 * and open what belongs to processes that have it: so it is not in effect while
 * anything is opened that an image names.
 */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "restore.h"

#define WORD (CAP_CHECKPOINT_RESTORE / 32)
#define BIT (1u << CAP_CHECKPOINT_RESTORE % 32)

int
restore_rights(struct restore *r, bool in_effect)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		return snap_fail(
		    r->cx, -errno, "own capabilities: %s", strerror(errno));
	data[WORD].effective &= ~BIT;
	if (in_effect)
		data[WORD].effective |= data[WORD].permitted & BIT;
	if (syscall(SYS_capset, &head, data) < 0)
		return snap_fail(
		    r->cx, -errno, "own capabilities: %s", strerror(errno));
	return 0;
}
