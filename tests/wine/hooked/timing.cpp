// What the hook costs: times calls, with or without it, and prints nanoseconds per call, one line of JSON.
// Run in turns by tests/timing/hook.
//
//   hooked_timing LIBRARY|- FOLDER FILE KEY
// LIBRARY is loaded first ("-": none is). FILE lies in the profile and is loaded; FOLDER is the profile's.
#include <windows.h>
// After it.
#include <winternl.h>

#include <algorithm>
#include <cstdio>
#include <cwchar>
#include <string>
#include <vector>

namespace {

double now_ns() {
  static LARGE_INTEGER frequency = [] {
    LARGE_INTEGER value;
    ::QueryPerformanceFrequency(&value);
    return value;
  }();
  LARGE_INTEGER count;
  ::QueryPerformanceCounter(&count);
  return static_cast<double>(count.QuadPart) * 1e9 / static_cast<double>(frequency.QuadPart);
}

// The least of many batches: what disturbs a batch only makes it longer. Each is shorter than the time that
// the system gives one program before another has its turn, or on a busy machine all would be disturbed.
template <class Call>
double least(int calls, int batches, Call call) {
  double best = 1e18;
  for (int batch = 0; batch < batches; ++batch) {
    const auto start = now_ns();
    for (int i = 0; i < calls; ++i) call();
    best = std::min(best, (now_ns() - start) / calls);
  }
  return best;
}

template <class Function>
Function find(const char* name) {
  return reinterpret_cast<Function>(
      reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), name)));
}

struct Name {
  explicit Name(std::wstring content, HANDLE root = nullptr) : text(std::move(content)) {
    string = {static_cast<USHORT>(text.size() * 2), static_cast<USHORT>(text.size() * 2), text.data()};
    attributes.Length = sizeof attributes;
    attributes.RootDirectory = root;
    attributes.ObjectName = &string;
    attributes.Attributes = OBJ_CASE_INSENSITIVE;
  }
  std::wstring text;
  UNICODE_STRING string;
  OBJECT_ATTRIBUTES attributes{};
};

}  // namespace

int wmain(int count, wchar_t** words) {
  if (count != 5) return 2;
  const std::wstring library = words[1], folder = words[2], file = words[3], key = words[4];
  if (library != L"-" && ::LoadLibraryW(library.c_str()) == nullptr) return 1;
  const auto query = find<NTSTATUS(NTAPI*)(OBJECT_ATTRIBUTES*, void*)>("NtQueryAttributesFile");
  const auto create =
      find<NTSTATUS(NTAPI*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, IO_STATUS_BLOCK*, LARGE_INTEGER*, ULONG,
                            ULONG, ULONG, ULONG, void*, ULONG)>("NtCreateFile");
  const auto open_key =
      find<NTSTATUS(NTAPI*)(HANDLE*, ACCESS_MASK, OBJECT_ATTRIBUTES*, ULONG)>("NtOpenKeyEx");
  unsigned char information[64];
  HANDLE handle = nullptr;
  IO_STATUS_BLOCK done;
  // Names that the system refuses before it looks at anything: what is left is the hook's share.
  Name outside(L"\\??\\C:\\windows\\system32\\<no such name>");
  Name inside(L"\\??\\" + folder + L"\\docs\\d1\\<no such name>");
  std::vector<std::pair<const char*, double>> figures;
  const auto create_once = [&](Name& name) {
    create(&handle, FILE_READ_ATTRIBUTES | SYNCHRONIZE, &name.attributes, &done, nullptr, 0, 7, FILE_OPEN, 0,
           nullptr, 0);
  };
  create_once(inside);  // asked for once
  figures.emplace_back("query_outside", least(4000, 45, [&] { query(&outside.attributes, information); }));
  figures.emplace_back("create_outside", least(4000, 45, [&] { create_once(outside); }));
  figures.emplace_back("create_inside", least(4000, 45, [&] { create_once(inside); }));
  figures.emplace_back("query_inside", least(4000, 45, [&] { query(&inside.attributes, information); }));
  figures.emplace_back("CreateFileW", least(20, 90, [&] {
                         const auto opened = ::CreateFileW(file.c_str(), GENERIC_READ, FILE_SHARE_READ,
                                                           nullptr, OPEN_EXISTING, 0, nullptr);
                         ::CloseHandle(opened);
                       }));
  figures.emplace_back("GetFileAttributesW", least(25, 180, [&] { ::GetFileAttributesW(file.c_str()); }));
  HKEY root = nullptr;
  ::RegOpenKeyExW(HKEY_CURRENT_USER, key.c_str(), 0, KEY_READ, &root);
  Name below(L"App7", root);
  figures.emplace_back("NtOpenKeyEx_relative", least(25, 180, [&] {
                         HANDLE opened = nullptr;
                         open_key(&opened, KEY_READ, &below.attributes, 0);
                         ::RegCloseKey(static_cast<HKEY>(opened));
                       }));
  figures.emplace_back("RegOpenKeyEx", least(25, 180, [&] {
                         HKEY opened = nullptr;
                         ::RegOpenKeyExW(HKEY_CURRENT_USER, (key + L"\\App8").c_str(), 0, KEY_READ, &opened);
                         ::RegCloseKey(opened);
                       }));
  figures.emplace_back("RegOpenKeyEx_HKLM", least(25, 180, [&] {
                         HKEY opened = nullptr;
                         ::RegOpenKeyExW(HKEY_LOCAL_MACHINE, L"Software\\Microsoft", 0, KEY_READ, &opened);
                         ::RegCloseKey(opened);
                       }));
  std::printf("{");
  for (std::size_t i = 0; i < figures.size(); ++i)
    std::printf("%s\"%s\": %.1f", i == 0 ? "" : ", ", figures[i].first, figures[i].second);
  std::printf("}\n");
  return 0;
}
