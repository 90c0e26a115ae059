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
 *  4. NtSetInformationFile(FileDispositionInformationEx), by which Go's os.RemoveAll and os.Root delete. Wine
 *     has it not and says STATUS_NOT_IMPLEMENTED, which Windows never does; older Windows say
 *     STATUS_NOT_SUPPORTED, and Go then deletes the older way.
 *
 * Go loads this DLL first of all, and finds the functions of other DLLs by their names, one by one, as they
 * are needed. So once loaded, the DLL points those names in the others' tables of exports at its own
 * functions. Places there are 32-bit offsets from the beginning of a DLL, hence the pages of jumps.
 */
#include <winsock2.h>
#include <windows.h>
#include <winternl.h>
#include <string.h>

#define SIO_UDP_CONNRESET_ 0x9800000C
#define SIO_UDP_NETRESET_ 0x9800000F
#define FIRST_SOURCE_OPTION 15 /* IP_ADD_SOURCE_MEMBERSHIP, in ws2ipdef.h; then drop, block, unblock */
#define LAST_SOURCE_OPTION 18
#define FILE_DISPOSITION_INFORMATION_EX 64
#define NOT_IMPLEMENTED ((NTSTATUS)0xC0000002)
#define NOT_SUPPORTED ((NTSTATUS)0xC00000BB)

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

/* The calls of other DLLs below go through this DLL's own table of imports, which was filled before
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

NTSTATUS NTAPI NtSetInformationFile(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, FILE_INFORMATION_CLASS);

static NTSTATUS NTAPI set_information_mended(HANDLE file, PIO_STATUS_BLOCK io, PVOID information, ULONG length, FILE_INFORMATION_CLASS class)
{
	NTSTATUS status = NtSetInformationFile(file, io, information, length, class);
	return (int)class == FILE_DISPOSITION_INFORMATION_EX && status == NOT_IMPLEMENTED ? NOT_SUPPORTED : status;
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

/* redirect points an exported name of a loaded DLL at a function, by a jump. */
static BOOL redirect(const char *dll, const char *name, void *function)
{
	static const BYTE jmp[6] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp [rip+0], and the address follows */
	BYTE *base = (BYTE *)GetModuleHandleA(dll);
	BYTE *jump = base ? page_above(base) : NULL;
	IMAGE_NT_HEADERS *headers;
	IMAGE_EXPORT_DIRECTORY *exports;
	DWORD *names, *slot, i, old;
	if (!jump)
		return FALSE;
	memcpy(jump, jmp, sizeof jmp);
	memcpy(jump + sizeof jmp, &function, sizeof function);
	headers = (IMAGE_NT_HEADERS *)(base + ((IMAGE_DOS_HEADER *)base)->e_lfanew);
	exports = (IMAGE_EXPORT_DIRECTORY *)(base + headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_EXPORT].VirtualAddress);
	names = (DWORD *)(base + exports->AddressOfNames);
	for (i = 0; i < exports->NumberOfNames; i++) {
		if (strcmp((char *)base + names[i], name) != 0)
			continue;
		slot = (DWORD *)(base + exports->AddressOfFunctions) + ((WORD *)(base + exports->AddressOfNameOrdinals))[i];
		if (!VirtualProtect(slot, sizeof *slot, PAGE_READWRITE, &old))
			return FALSE;
		*slot = (DWORD)(jump - base);
		VirtualProtect(slot, sizeof *slot, old, &old);
		return TRUE;
	}
	return FALSE;
}

/* A failure here fails the load, and Go's runtime says which DLL it was. */
BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, LPVOID reserved)
{
	(void)reserved;
	if (reason != DLL_PROCESS_ATTACH)
		return TRUE;
	DisableThreadLibraryCalls(self);
	return redirect("ws2_32.dll", "WSAIoctl", ioctl_mended) && redirect("ws2_32.dll", "setsockopt", setsockopt_mended) &&
		redirect("ntdll.dll", "NtSetInformationFile", set_information_mended);
}
