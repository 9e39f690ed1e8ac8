# svg.awk - a picture of what a bench measured: times over sizes, both axes
# logarithmic.
#
# The first line of the input: what the sizes are, and a name for each series,
# with a `|' between.  Each other line: a size, and in us the time of each.

function x(size) { return 70 + 480 * (log(size) - log(xmin)) / (log(xmax) - log(xmin)) }
function y(us) { return 340 - 300 * (log(us < 10 ? 10 : us) - log(10)) / (log(ymax) - log(10)) }

function label(us) {
	return us < 1000 ? us " us" : us < 1000000 ? us / 1000 " ms" : us / 1000000 " s"
}

NR == 1 {
	nseries = split($0, name, "|") - 1
	next
}
{
	n = NR - 1
	for (i = 1; i <= nseries + 1; i++)
		v[n, i] = $i
	if (n == 1)
		xmin = $1
	xmax = $1
}

END {
	ymax = 10000000
	split("#0060a0|#60a0d0|#a03000|#e08040|#606060|#40a040|#a040a0", colour, "|")
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"780\" height=\"390\" font-family=\"sans-serif\" font-size=\"12\">"
	print "<rect width=\"780\" height=\"390\" fill=\"white\"/>"
	for (us = 10; us <= ymax; us *= 10) {
		printf "<line x1=\"70\" x2=\"550\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", y(us), y(us)
		printf "<text x=\"62\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", y(us) + 4, label(us)
	}
	for (k = 1; k <= n; k++)
		printf "<text x=\"%.1f\" y=\"358\" text-anchor=\"middle\">%s</text>\n", x(v[k, 1]), v[k, 1]
	printf "<text x=\"310\" y=\"380\" text-anchor=\"middle\">%s</text>\n", name[1]
	for (i = 1; i <= nseries; i++) {
		printf "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour[i]
		for (k = 1; k <= n; k++)
			printf "%.1f,%.1f ", x(v[k, 1]), y(v[k, i + 1])
		print "\"/>"
		for (k = 1; k <= n; k++)
			printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x(v[k, 1]), y(v[k, i + 1]), colour[i]
		printf "<line x1=\"565\" x2=\"590\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\"/>\n", 50 + 20 * i, 50 + 20 * i, colour[i]
		printf "<text x=\"596\" y=\"%d\">%s</text>\n", 54 + 20 * i, name[i + 1]
	}
	print "</svg>"
}
