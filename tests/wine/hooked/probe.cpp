// A program that knows nothing of the hook: it looks at a profile in many ways, and says what it finds. Exit
// status 0: all was as it should be; what was not is on standard error.
//
//   probe look FOLDER KEY       everything once
//   probe threads FOLDER KEY N  N threads, each looking at all of FOLDER\many in another order
//   probe open PATH             what opening a file says: "0" or the error's number
//   probe key KEY               likewise
//   probe attributes PATH
//   probe rename FROM TO
//   probe wait                  until it is ended
//   probe first PATH...         milliseconds until each file is read whole
//   probe handles FOLDER KEY    handles that are closed and used again keep no names
#include <windows.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<int> faults{0};

void check(bool good, const std::string& what) {
  if (good) return;
  ++faults;
  std::fprintf(stderr, "probe: %s (last error %lu)\n", what.c_str(), ::GetLastError());
}

std::string content_of(const std::string& name, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += name + "\r\n";
  text.resize(bytes);
  return text;
}

std::string read_by_handle(const std::string& path) {
  const auto file =
      ::CreateFileA(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) return "?";
  std::string text(1 << 17, '\0');
  DWORD count = 0;
  ::ReadFile(file, text.data(), static_cast<DWORD>(text.size()), &count, nullptr);
  ::CloseHandle(file);
  text.resize(count);
  return text;
}

std::string read_by_stdio(const std::string& path) {
  auto* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return "?";
  std::string text(1 << 17, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  return text;
}

std::string read_by_mapping(const std::string& path) {
  const auto file =
      ::CreateFileA(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
  if (file == INVALID_HANDLE_VALUE) return "?";
  const auto mapping = ::CreateFileMappingA(file, nullptr, PAGE_READONLY, 0, 0, nullptr);
  const auto size = ::GetFileSize(file, nullptr);
  const auto* view = static_cast<const char*>(::MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0));
  std::string text = view != nullptr ? std::string(view, size) : "?";
  ::UnmapViewOfFile(view);
  ::CloseHandle(mapping);
  ::CloseHandle(file);
  return text;
}

std::vector<std::string> names_in(const std::string& pattern) {
  std::vector<std::string> names;
  WIN32_FIND_DATAA found;
  const auto search = ::FindFirstFileA(pattern.c_str(), &found);
  if (search == INVALID_HANDLE_VALUE) return names;
  do {
    if (std::strcmp(found.cFileName, ".") != 0 && std::strcmp(found.cFileName, "..") != 0)
      names.emplace_back(found.cFileName);
  } while (::FindNextFileA(search, &found) != 0);
  ::FindClose(search);
  return names;
}

std::string value_of(HKEY key, const std::string& name) {
  char text[200] = "?";
  DWORD bytes = sizeof text;
  ::RegQueryValueExA(key, name.c_str(), nullptr, nullptr, reinterpret_cast<BYTE*>(text), &bytes);
  return text;
}

void look_at_files(const std::string& folder) {
  const auto file = [&](int d, int f) {
    return "docs/d" + std::to_string(d) + "/f" + std::to_string(f) + ".txt";
  };
  const auto path = [&](int d, int f) {
    auto text = folder + "\\" + file(d, f);
    for (auto& c : text) c = c == '/' ? '\\' : c;
    return text;
  };
  const auto expected = [&](int d, int f) {
    return content_of(file(d, f), static_cast<std::size_t>(100 + f * 37));
  };
  check(::GetFileAttributesA(path(0, 5).c_str()) == FILE_ATTRIBUTE_ARCHIVE ||
            ::GetFileAttributesA(path(0, 5).c_str()) == FILE_ATTRIBUTE_NORMAL,
        "attributes of a file that is not loaded");
  WIN32_FILE_ATTRIBUTE_DATA data{};
  check(::GetFileAttributesExA(path(0, 6).c_str(), GetFileExInfoStandard, &data) != 0 &&
            data.nFileSizeLow == 100 + 6 * 37,
        "size of a file that is not loaded");
  check(read_by_handle(path(1, 1)) == expected(1, 1), "read by CreateFile");
  check(read_by_stdio(path(1, 2)) == expected(1, 2), "read by fopen");
  check(read_by_mapping(path(1, 3)) == expected(1, 3), "read by mapping");
  std::ifstream stream(path(1, 4), std::ios::binary);
  check(std::string(std::istreambuf_iterator<char>(stream), {}) == expected(1, 4), "read by ifstream");
  check(names_in(folder + "\\docs\\d2\\*").size() == 100, "names in a folder");
  check(names_in(folder + "\\docs\\d3\\f7.txt").size() == 1, "a name by FindFirstFile");
  check(names_in(folder + "\\docs\\d3\\nothing").empty(), "no name where there is none");
  check(::GetFileAttributesA((folder + "\\docs\\d3\\nothing").c_str()) == INVALID_FILE_ATTRIBUTES &&
            ::GetLastError() == ERROR_FILE_NOT_FOUND,
        "what is not there is not found");
  check(::SetCurrentDirectoryA((folder + "\\docs\\d4").c_str()) != 0, "a folder to be in");
  check(read_by_stdio("f9.txt") == expected(4, 9), "read by a relative name");
  check(read_by_stdio("..\\d5\\f9.txt") == expected(5, 9), "read by a name with ..");
  check(read_by_handle("\\\\?\\" + path(5, 10)) == expected(5, 10), "read by a name with a prefix");
  check(::CopyFileA(path(6, 1).c_str(), (folder + "\\copy.txt").c_str(), TRUE) != 0 &&
            read_by_stdio(folder + "\\copy.txt") == expected(6, 1),
        "copied");
  auto* changed = std::fopen(path(7, 1).c_str(), "r+b");
  check(changed != nullptr && std::fwrite("changed", 1, 7, changed) == 7 && std::fclose(changed) == 0,
        "changed");
  check(read_by_handle(path(7, 1)) == "changed" + expected(7, 1).substr(7), "the rest of a changed file");
  auto* longer = std::fopen(path(7, 2).c_str(), "ab");
  check(longer != nullptr && std::fwrite("more", 1, 4, longer) == 4 && std::fclose(longer) == 0, "appended");
  check(read_by_handle(path(7, 2)) == expected(7, 2) + "more", "what was there before appending");
  check(::MoveFileA(path(8, 1).c_str(), path(8, 2).c_str()) == 0 && ::GetLastError() == ERROR_ALREADY_EXISTS,
        "not renamed over a file that is not loaded");
  check(::MoveFileExA(path(8, 1).c_str(), path(8, 3).c_str(), MOVEFILE_REPLACE_EXISTING) != 0,
        "renamed over");
  check(read_by_handle(path(8, 3)) == expected(8, 1), "loaded after it was renamed");
  check(::MoveFileA((folder + "\\docs\\d9").c_str(), (folder + "\\docs\\moved").c_str()) != 0,
        "a folder renamed");
  check(read_by_handle(folder + "\\docs\\moved\\f3.txt") == expected(9, 3), "loaded in a renamed folder");
  check(::RemoveDirectoryA((folder + "\\docs\\d10").c_str()) == 0 && ::GetLastError() == ERROR_DIR_NOT_EMPTY,
        "a folder that looks empty is not");
  check(::DeleteFileA(path(11, 1).c_str()) != 0 && names_in(folder + "\\docs\\d11\\*").size() == 99,
        "deleted");
  check(::CreateHardLinkA((folder + "\\link.txt").c_str(), path(11, 2).c_str(), nullptr) == 0 ||
            read_by_handle(folder + "\\link.txt") == expected(11, 2),
        "linked");
  ::SetLastError(4711);
  (void)::GetFileAttributesA(path(12, 1).c_str());
  check(::GetLastError() == 4711, "the last error of before");
}

void look_at_keys(const std::string& root) {
  HKEY key = nullptr, below = nullptr;
  check(::RegOpenKeyExA(HKEY_CURRENT_USER, (root + "\\Vendor1\\App3").c_str(), 0, KEY_READ, &key) == 0,
        "a key that is not loaded");
  check(value_of(key, "value4") == "Vendor1\\App3 4", "a value: " + value_of(key, "value4"));
  DWORD values = 0;
  check(::RegQueryInfoKeyA(key, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, &values, nullptr,
                           nullptr, nullptr, nullptr) == 0 &&
            values == 10,
        "number of values");
  ::RegCloseKey(key);
  check(::RegOpenKeyExA(HKEY_CURRENT_USER, root.c_str(), 0, KEY_READ, &key) == 0, "the root");
  check(::RegOpenKeyExA(key, "Vendor2", 0, KEY_READ, &below) == 0, "relative to a handle");
  int names = 0;
  char name[256];
  for (DWORD units = sizeof name; ::RegEnumKeyExA(below, static_cast<DWORD>(names), name, &units, nullptr,
                                                  nullptr, nullptr, nullptr) == 0;
       units = sizeof name)
    ++names;
  check(names == 50, "names of subkeys: " + std::to_string(names));
  HKEY deep = nullptr;
  check(::RegOpenKeyExA(below, "App49", 0, KEY_READ, &deep) == 0 &&
            value_of(deep, "value9") == "Vendor2\\App49 9",
        "a value relative to two handles");
  ::RegCloseKey(deep);
  check(::RegOpenKeyExA(below, "App50", 0, KEY_READ, &deep) == ERROR_FILE_NOT_FOUND,
        "no key where there is none");
  DWORD made = 0;
  check(::RegCreateKeyExA(below, "App7", 0, nullptr, 0, KEY_ALL_ACCESS, nullptr, &deep, &made) == 0 &&
            made == REG_OPENED_EXISTING_KEY && value_of(deep, "value0") == "Vendor2\\App7 0",
        "made where it is already");
  ::RegCloseKey(deep);
  ::RegCloseKey(below);
  ::RegCloseKey(key);
}

void look_with_threads(const std::string& folder, const std::string& root, int count) {
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t)
    threads.emplace_back([=] {
      for (int i = 0; i < 60; ++i) {
        const auto n = (i * 7 + t * 11) % 60;
        const auto path = folder + "\\many\\m" + std::to_string(n);
        check(read_by_handle(path) == content_of("m" + std::to_string(n), 65536), path);
        HKEY key = nullptr;
        const auto name = root + "\\Vendor" + std::to_string(n % 10) + "\\App" + std::to_string(n % 50);
        check(::RegOpenKeyExA(HKEY_CURRENT_USER, name.c_str(), 0, KEY_READ, &key) == 0 &&
                  value_of(key, "value1") ==
                      "Vendor" + std::to_string(n % 10) + "\\App" + std::to_string(n % 50) + " 1",
              name);
        ::RegCloseKey(key);
      }
    });
  for (auto& thread : threads) thread.join();
}

// The same handle values again and again, for this and that.
void reuse_handles(const std::string& folder, const std::string& root) {
  for (int i = 0; i < 200; ++i) {
    HKEY one = nullptr, other = nullptr, below = nullptr;
    const auto vendor = "Vendor" + std::to_string(i % 10);
    check(::RegOpenKeyExA(HKEY_CURRENT_USER, (root + "\\" + vendor).c_str(), 0, KEY_READ, &one) == 0, vendor);
    ::RegCloseKey(one);
    const bool outside = i % 3 == 0;
    check(::RegOpenKeyExA(outside ? HKEY_LOCAL_MACHINE : HKEY_CURRENT_USER,
                          outside ? "Software\\Microsoft" : (root + "\\Vendor3").c_str(), 0, KEY_READ,
                          &other) == 0,
          "another key");
    if (outside) {
      check(::RegOpenKeyExA(other, "Windows", 0, KEY_READ, &below) == 0, "below a key outside");
    } else {
      const auto app = "App" + std::to_string(i % 50);
      check(::RegOpenKeyExA(other, app.c_str(), 0, KEY_READ, &below) == 0 &&
                value_of(below, "value2") == "Vendor3\\" + app + " 2",
            "below another key: " + app);
    }
    HANDLE moved = nullptr;
    ::DuplicateHandle(::GetCurrentProcess(), other, ::GetCurrentProcess(), &moved, 0, FALSE,
                      DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE);
    ::CloseHandle(moved);
    ::RegCloseKey(below);
    const auto search = names_in(folder + (i % 2 == 0 ? "\\docs\\*" : "\\docs\\d1\\*"));
    check(search.size() >= 20, "names again");
  }
}

DWORD error_of(bool good) { return good ? 0 : ::GetLastError(); }

}  // namespace

int main(int count, char** words) {
  const std::string verb = count > 1 ? words[1] : "", first = count > 2 ? words[2] : "",
                    second = count > 3 ? words[3] : "";
  if (verb == "look") {
    look_at_files(first);
    look_at_keys(second);
  } else if (verb == "threads") {
    look_with_threads(first, second, count > 4 ? std::atoi(words[4]) : 16);
  } else if (verb == "handles") {
    reuse_handles(first, second);
  } else if (verb == "open") {
    const auto file =
        ::CreateFileA(first.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr, OPEN_EXISTING, 0, nullptr);
    std::printf("%lu\n", error_of(file != INVALID_HANDLE_VALUE));
  } else if (verb == "attributes") {
    std::printf("%lu\n", error_of(::GetFileAttributesA(first.c_str()) != INVALID_FILE_ATTRIBUTES));
  } else if (verb == "key") {
    HKEY key = nullptr;
    std::printf("%ld\n", ::RegOpenKeyExA(HKEY_CURRENT_USER, first.c_str(), 0, KEY_READ, &key));
  } else if (verb == "rename") {
    std::printf("%lu\n", error_of(::MoveFileExA(first.c_str(), second.c_str(), 0) != 0));
  } else if (verb == "first") {
    LARGE_INTEGER frequency, start, end;
    ::QueryPerformanceFrequency(&frequency);
    for (int i = 2; i < count; ++i) {
      ::QueryPerformanceCounter(&start);
      check(read_by_handle(words[i]).size() == 65536, words[i]);
      ::QueryPerformanceCounter(&end);
      std::printf("%.3f\n", static_cast<double>(end.QuadPart - start.QuadPart) * 1000 /
                                static_cast<double>(frequency.QuadPart));
    }
  } else if (verb == "wait") {
    ::Sleep(120'000);
  } else {
    return 2;
  }
  return faults == 0 ? 0 : 1;
}
