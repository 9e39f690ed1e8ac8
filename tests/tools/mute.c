/*
 * mute - a FUSE file system that answers nothing: whoever asks it for a name
 * sleeps, and no signal but a deadly one wakes him.
 *
 *	mute MOUNTPOINT
 *
 * Runs until it is killed; then the kernel lets those who wait go.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static void
greet(int fd, const struct fuse_in_header *in, const struct fuse_init_in *ask)
{
	struct {
		struct fuse_out_header head;
		struct fuse_init_out init;
	} out = {
		.head = { .len = sizeof(out), .unique = in->unique },
		.init = { .major = FUSE_KERNEL_VERSION,
		    .minor = FUSE_KERNEL_MINOR_VERSION,
		    .max_readahead = ask->max_readahead,
		    .max_background = 4,
		    .congestion_threshold = 3,
		    .max_write = 4096,
		    .time_gran = 1 },
	};

	if (write(fd, &out, sizeof(out)) != sizeof(out))
		err(1, "the answer to FUSE_INIT");
}

int
main(int argc, char **argv)
{
	char options[128], buf[1 << 17];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	ssize_t n;

	if (argc != 2)
		errx(2, "usage: mute MOUNTPOINT");
	if (fd < 0)
		err(1, "/dev/fuse");
	snprintf(options, sizeof(options),
	    "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
	if (mount("mute", argv[1], "fuse.mute", MS_NOSUID | MS_NODEV, options) <
	    0)
		err(1, "mount");
	for (;;) {
		const struct fuse_in_header *in = (void *)buf;

		n = read(fd, buf, sizeof(buf));
		if (n < 0 && errno != EINTR)
			return errno == ENODEV ? 0 : 1;
		if (n >= (ssize_t)sizeof(*in) && in->opcode == FUSE_INIT)
			greet(fd, in, (void *)(in + 1));
	}
}
