# svg.awk - a picture of what tests/bench/lazy measured: time over size, both
# axes logarithmic.
#
# Lines of the input: MIB, and in us: first beat, longest stall, all there,
# all there with lazy=no, reading the file, fork().

function x(mib) { return 70 + 480 * (log(mib) - log(xmin)) / (log(xmax) - log(xmin)) }
function y(us) { return 340 - 300 * (log(us < 10 ? 10 : us) - log(10)) / (log(ymax) - log(10)) }

function label(us) {
	return us < 1000 ? us " us" : us < 1000000 ? us / 1000 " ms" : us / 1000000 " s"
}

{
	for (i = 1; i <= 7; i++)
		v[NR, i] = $i
	if (NR == 1)
		xmin = $1
	xmax = $1
}

END {
	ymax = 10000000
	split("first beat|longest stall after it|all there|all there, lazy=no|reading the file into memory|fork() of it", name, "|")
	split("#0060a0|#60a0d0|#a03000|#e08040|#606060|#40a040", colour, "|")
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"780\" height=\"390\" font-family=\"sans-serif\" font-size=\"12\">"
	print "<rect width=\"780\" height=\"390\" fill=\"white\"/>"
	for (us = 10; us <= ymax; us *= 10) {
		printf "<line x1=\"70\" x2=\"550\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", y(us), y(us)
		printf "<text x=\"62\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", y(us) + 4, label(us)
	}
	for (n = 1; n <= NR; n++)
		printf "<text x=\"%.1f\" y=\"358\" text-anchor=\"middle\">%s</text>\n", x(v[n, 1]), v[n, 1]
	print "<text x=\"310\" y=\"380\" text-anchor=\"middle\">MiB of memory in pages of 4 KiB, the image on tmpfs</text>"
	for (i = 2; i <= 7; i++) {
		printf "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour[i - 1]
		for (n = 1; n <= NR; n++)
			printf "%.1f,%.1f ", x(v[n, 1]), y(v[n, i])
		print "\"/>"
		for (n = 1; n <= NR; n++)
			printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x(v[n, 1]), y(v[n, i]), colour[i - 1]
		printf "<line x1=\"565\" x2=\"590\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\"/>\n", 30 + 20 * i, 30 + 20 * i, colour[i - 1]
		printf "<text x=\"596\" y=\"%d\">%s</text>\n", 34 + 20 * i, name[i - 1]
	}
	print "</svg>"
}
