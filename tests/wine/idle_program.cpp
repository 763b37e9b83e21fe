// What every program weighs under Wine, for tests/timing/windows: maps the libraries of Windows that the
// agent maps, has as many threads, and waits. Wine touches 960 KiB of each thread's stack before the thread
// begins; Windows does not. usage: idle_program THREADS SECONDS
#include <windows.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>

int main(int count, char** words) {
  if (count != 3) return 2;
  constexpr std::array kLibraries = {"advapi32", "ws2_32", "wtsapi32"};
  for (const char* library : kLibraries)
    if (::LoadLibraryA(library) == nullptr) return 1;
  const auto milliseconds = static_cast<DWORD>(std::atoi(words[2])) * 1000;
  for (int made = 1; made < std::atoi(words[1]); ++made)
    std::thread([milliseconds] { ::Sleep(milliseconds); }).detach();
  std::puts("ready");
  std::fflush(stdout);
  ::Sleep(milliseconds);
  ::ExitProcess(0);
}
