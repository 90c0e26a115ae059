/*
 * bcryptprimitives.dll: what programs written in Go find in Windows and lack in Wine 8. It is put
 * into the prefix of a test and never near a real Windows, which has all of this by itself.
 *
 *  1. The DLL itself. Go's runtime loads bcryptprimitives.dll from system32 and calls its ProcessPrng
 *     for random numbers; without it no program of Go 1.20 or later starts.
 *  2. WSAIoctl(SIO_UDP_NETRESET) and WSAIoctl(SIO_UDP_CONNRESET). Go's package net turns reports of
 *     ICMP errors off on each UDP socket it opens, and takes a refusal for a failure. Wine knows
 *     neither; Linux reports no such errors on sockets that aren't connected, so 0 is the truth.
 *  3. setsockopt(IP_ADD_SOURCE_MEMBERSHIP) and its three siblings. Wine hands struct ip_mreq_source to
 *     Linux as it is, but Windows' order is group, source, interface and Linux' is group, interface,
 *     source.
 *
 * Go loads this DLL first of all, and finds the functions of ws2_32.dll by their names, one by one, as
 * they are needed. So once loaded, the DLL points those names in ws2_32's table of exports at its own
 * functions. Their places are 32-bit offsets from the beginning of ws2_32, hence the page of jumps.
 */
#include <winsock2.h>
#include <windows.h>
#include <string.h>

#define SIO_UDP_CONNRESET_ 0x9800000C
#define SIO_UDP_NETRESET_ 0x9800000F
#define FIRST_SOURCE_OPTION 15 /* IP_ADD_SOURCE_MEMBERSHIP, in ws2ipdef.h; then drop, block, unblock */
#define LAST_SOURCE_OPTION 18

BOOLEAN WINAPI SystemFunction036(PVOID buffer, ULONG length); /* RtlGenRandom, of advapi32 */

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T length)
{
	while (length > 0) {
		ULONG part = length < 1 << 20 ? (ULONG)length : 1 << 20;
		if (!SystemFunction036(buffer, part))
			return FALSE;
		buffer += part;
		length -= part;
	}
	return TRUE;
}

/* The calls of ws2_32 below go through this DLL's own table of imports, which was filled before
 * the exports changed: they reach Wine's functions. */

static int WINAPI ioctl_mended(SOCKET s, DWORD code, LPVOID in, DWORD in_len, LPVOID out, DWORD out_len,
	LPDWORD returned, LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
	if (code == SIO_UDP_CONNRESET_ || code == SIO_UDP_NETRESET_) {
		if (returned)
			*returned = 0;
		return 0;
	}
	return WSAIoctl(s, code, in, in_len, out, out_len, returned, overlapped, routine);
}

static int WINAPI setsockopt_mended(SOCKET s, int level, int option, const char *value, int length)
{
	DWORD swapped[3];
	if (level == IPPROTO_IP && option >= FIRST_SOURCE_OPTION && option <= LAST_SOURCE_OPTION && value && length >= (int)sizeof swapped) {
		const DWORD *given = (const DWORD *)value;
		swapped[0] = given[0];
		swapped[1] = given[2];
		swapped[2] = given[1];
		return setsockopt(s, level, option, (const char *)swapped, sizeof swapped);
	}
	return setsockopt(s, level, option, value, length);
}

/* page_above returns a page that a 32-bit offset from base reaches. */
static BYTE *page_above(BYTE *base)
{
	ULONGLONG at;
	for (at = 16 << 20; at < 0xf0000000; at += 64 << 10) {
		BYTE *page = VirtualAlloc(base + at, 4096, MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READWRITE);
		if (page)
			return page;
	}
	return NULL;
}

/* redirect points an exported name at a function, by a jump written to *jump. */
static BOOL redirect(BYTE *base, const char *name, void *function, BYTE **jump)
{
	IMAGE_NT_HEADERS *headers = (IMAGE_NT_HEADERS *)(base + ((IMAGE_DOS_HEADER *)base)->e_lfanew);
	DWORD directory = headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_EXPORT].VirtualAddress;
	IMAGE_EXPORT_DIRECTORY *exports = (IMAGE_EXPORT_DIRECTORY *)(base + directory);
	DWORD *names = (DWORD *)(base + exports->AddressOfNames);
	DWORD *functions = (DWORD *)(base + exports->AddressOfFunctions);
	WORD *ordinals = (WORD *)(base + exports->AddressOfNameOrdinals);
	static const BYTE jmp[6] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp [rip+0], and the address follows */
	DWORD i, old;
	for (i = 0; i < exports->NumberOfNames; i++) {
		DWORD *slot = &functions[ordinals[i]];
		if (strcmp((char *)base + names[i], name) != 0)
			continue;
		memcpy(*jump, jmp, sizeof jmp);
		memcpy(*jump + sizeof jmp, &function, sizeof function);
		if (!VirtualProtect(slot, sizeof *slot, PAGE_READWRITE, &old))
			return FALSE;
		*slot = (DWORD)(*jump - base);
		VirtualProtect(slot, sizeof *slot, old, &old);
		*jump += 16;
		return TRUE;
	}
	return FALSE;
}

/* A failure here fails the load, and Go's runtime says which DLL it was. */
BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID reserved)
{
	BYTE *base, *jump;
	(void)reserved;
	if (reason != DLL_PROCESS_ATTACH)
		return TRUE;
	DisableThreadLibraryCalls(self);
	base = (BYTE *)GetModuleHandleA("ws2_32.dll");
	jump = base ? page_above(base) : NULL;
	return jump && redirect(base, "WSAIoctl", ioctl_mended, &jump) && redirect(base, "setsockopt", setsockopt_mended, &jump);
}
