/*
 * fd_memfd - memfds: contents, size, seals, mapped ones, two descriptors of
 * one.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "subject.h"

#define SIZE (64 * 1024)

int
main(int argc, char **argv)
{
	int plain, sealed, again;
	char *map, buf[4096], path[64];
	struct stat st;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS);
	must((plain = memfd_create("plain", MFD_CLOEXEC)) >= 0);
	must(ftruncate(plain, SIZE) == 0);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
	must(map != MAP_FAILED);
	subject_fill(map + 8192, 4096, 1);
	must(lseek(plain, 123, SEEK_SET) == 123);
	must((sealed = memfd_create("sealed", MFD_ALLOW_SEALING)) >= 0);
	subject_fill(buf, 4096, 2);
	must(write(sealed, buf, 4096) == 4096);
	must(fcntl(sealed, F_ADD_SEALS,
		 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", plain);
	must((again = open(path, O_RDONLY)) >= 0);

	subject_wait();

	must(fstat(plain, &st) == 0);
	expect(st.st_size == SIZE, "size is %lld", (long long)st.st_size);
	subject_zero("hole", map, 8192);
	subject_filled("mapped", map + 8192, 4096, 1);
	expect(pread(plain, buf, 4096, 8192) == 4096, "pread");
	subject_filled("read", buf, 4096, 1);
	map[SIZE - 1] = 'm';
	expect(pread(again, buf, 1, SIZE - 1) == 1 && buf[0] == 'm',
	    "mapping and descriptors are no longer one");
	expect(fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL, "seals are %x",
	    (unsigned)fcntl(plain, F_GET_SEALS));
	expect(fcntl(sealed, F_GET_SEALS) ==
		   (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
	    "seals are %x", (unsigned)fcntl(sealed, F_GET_SEALS));
	expect(pread(sealed, buf, 4096, 0) == 4096, "pread of the sealed");
	subject_filled("sealed", buf, 4096, 2);
	expect(write(sealed, "x", 1) == -1 && errno == EPERM,
	    "the sealed one can be written");
	map[SIZE - 1] = 0;
	return subject_done();
}
