// What a program shows, without a screen: the text of the first child of a window of some class, in UTF-8,
// once it is SIZE characters long. Then the window is closed.
//
//   window_text CLASS SIZE    exit status 1: that did not happen within 60 s
#include <windows.h>
// After it.
#include <fcntl.h>
#include <io.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

int wmain(int count, wchar_t** words) {
  if (count != 3) return 2;
  const auto size = static_cast<std::size_t>(::_wtoi(words[2]));
  for (int attempt = 0; attempt < 600; ++attempt, ::Sleep(100)) {
    const auto window = ::FindWindowW(words[1], nullptr);
    const auto child = window == nullptr ? nullptr : ::GetWindow(window, GW_CHILD);
    if (child == nullptr) continue;
    DWORD_PTR length = 0;
    constexpr UINT kPatience_ms = 5000;
    if (::SendMessageTimeoutW(child, WM_GETTEXTLENGTH, 0, 0, SMTO_NORMAL, kPatience_ms, &length) == 0 ||
        length != size)
      continue;
    std::vector<wchar_t> text(size + 1);
    if (::SendMessageTimeoutW(child, WM_GETTEXT, text.size(), reinterpret_cast<LPARAM>(text.data()),
                              SMTO_NORMAL, kPatience_ms, &length) == 0)
      continue;
    std::vector<char> narrow(4 * text.size());
    const auto bytes = ::WideCharToMultiByte(CP_UTF8, 0, text.data(), static_cast<int>(size), narrow.data(),
                                             static_cast<int>(narrow.size()), nullptr, nullptr);
    ::_setmode(::_fileno(stdout), _O_BINARY);
    std::fwrite(narrow.data(), 1, static_cast<std::size_t>(bytes), stdout);
    ::PostMessageW(window, WM_CLOSE, 0, 0);
    return 0;
  }
  return 1;
}
