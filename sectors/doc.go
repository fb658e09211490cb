// Package sectors knows where sealed sectors lie: stores (a name and a folder), their layout on disk, and an index made by
// listing them.
//
// A store is known by its name on every machine; each machine may mount it elsewhere. The layout is that of Lotus and
// damocles: sealed/s-t01000-7 and cache/s-t01000-7/ for a sector as it was sealed, update/ and update-cache/ for an upgraded
// (snap) one. Both spellings of the network prefix, t0 and f0, are read.
//
// Nothing here reads a sector. A disk that hangs is waited for no longer than a limit, and never holds up another one.
package sectors
