/* The restorer's code as bytes within the library. */
	.section .rodata
	.globl restorer_code, restorer_code_end
	.hidden restorer_code, restorer_code_end
	.balign 16
restorer_code:
	.incbin RESTORER_BIN
restorer_code_end:
	.section .note.GNU-stack, "", @progbits
