# Link the restorer flat and refuse one that is not free-standing.
# Arguments: CC CC_ID NM OBJCOPY SRC LDS OUT (without suffix)
function(run)
	execute_process(COMMAND ${ARGV} RESULT_VARIABLE rc OUTPUT_VARIABLE out)
	if(NOT rc EQUAL 0)
		message(FATAL_ERROR "restorer: ${ARGV}: ${rc}")
	endif()
	set(out "${out}" PARENT_SCOPE)
endfunction()

# Loops must not become calls of memset(3); clang does not do that here.
if(CC_ID STREQUAL "GNU")
	set(loops -fno-tree-loop-distribute-patterns)
endif()
run(${CC} -std=gnu11 -O2 -Wall -Wextra -Wshadow -D_GNU_SOURCE
    -ffreestanding -fno-builtin -fPIE -mgeneral-regs-only
    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables
    -fno-jump-tables ${loops} -fno-sanitize=all
    -fvisibility=hidden -c ${SRC} -o ${OUT}.o)
run(${NM} -u ${OUT}.o)
string(REPLACE "_GLOBAL_OFFSET_TABLE_" "" out "${out}")
string(REGEX REPLACE "[U \n]" "" out "${out}")
if(NOT out STREQUAL "")
	message(FATAL_ERROR "restorer: undefined symbols: ${out}")
endif()
run(${CC} -nostdlib -static -Wl,--no-dynamic-linker -Wl,--build-id=none
    -Wl,-z,noexecstack -Wl,-T,${LDS} ${OUT}.o -o ${OUT}.elf)
run(${OBJCOPY} -O binary -j .text ${OUT}.elf ${OUT}.bin)
