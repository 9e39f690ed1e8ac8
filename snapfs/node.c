#include "node.h"

#define BIT_LAST (UINT64_C(1) << 63)
#define BIT_PROC (UINT64_C(1) << 62)
#define PID_BITS 22
#define SUB_BITS 5
#define SUB_TRACK 31u
#define SUB_HOLD 30u

static uint64_t
field(uint64_t v, unsigned shift, unsigned bits)
{
	return v >> shift & ((UINT64_C(1) << bits) - 1);
}

static unsigned
sub_of(const struct node *node)
{
	return node->kind == NODE_TRACK	 ? SUB_TRACK
	       : node->kind == NODE_HOLD ? SUB_HOLD
					 : node->sub;
}

uint64_t
node_ino(const struct node *node)
{
	switch (node->kind) {
	case NODE_ROOT:
	case NODE_RESTORE:
	case NODE_STATUS:
	case NODE_LOG:
	case NODE_LOG_RAW:
		return node->kind - NODE_ROOT + 1;
	case NODE_PROC:
	case NODE_TRACK:
	case NODE_HOLD:
		return BIT_PROC |
		       (node->proc.start & PROC_START_MASK)
			   << (PID_BITS + SUB_BITS) |
		       (uint64_t)node->proc.pid << SUB_BITS | sub_of(node);
	case NODE_FILE:
		return (node->last ? BIT_LAST : 0) |
		       (uint64_t)(node->gen & NODE_MAX_GEN) << 32 | node->low;
	case NODE_INVALID:
		break;
	}
	return 0;
}

struct node
node_of(uint64_t ino)
{
	struct node node = { .kind = NODE_INVALID };

	if (ino >= 1 && ino <= 5) {
		node.kind = NODE_ROOT + (enum node_kind)(ino - 1);
	} else if (ino & BIT_PROC) {
		if (ino & BIT_LAST)
			return node;
		node.sub = field(ino, 0, SUB_BITS);
		node.kind = node.sub == SUB_TRACK  ? NODE_TRACK
			    : node.sub == SUB_HOLD ? NODE_HOLD
						   : NODE_PROC;
		if (node.kind != NODE_PROC)
			node.sub = 0;
		node.proc.pid = (pid_t)field(ino, SUB_BITS, PID_BITS);
		node.proc.start = field(ino, PID_BITS + SUB_BITS, 35);
	} else {
		node.gen = (uint32_t)field(ino, 32, 29);
		node.low = (uint32_t)ino;
		node.last = (ino & BIT_LAST) != 0;
		if (node.gen != 0 && node.low != 0)
			node.kind = NODE_FILE;
	}
	return node;
}
