#include "coordinator/doctor/bundle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace roamstead::doctor {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMostBytes = 64ull << 20;

// IEEE Std 1003.1, pax: the ustar interchange format.
std::string header_of(const std::string& name, std::size_t size) {
  std::string header(kBlock, '\0');
  auto put = [&](std::size_t at, const std::string& text) { header.replace(at, text.size(), text); };
  put(0, name);
  put(100, "0000600");
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", size));
  put(136, fmt::format("{:011o}", static_cast<std::uint64_t>(std::time(nullptr))));
  put(148, "        ");
  put(156, "0");
  put(257, std::string("ustar\0"
                       "00",
                       8));
  unsigned sum = 0;
  for (unsigned char byte : header) sum += byte;
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return header;
}

}  // namespace

Result<Bytes> make_bundle(const BundleFiles& files) {
  std::string archive;
  for (const auto& [name, content] : files) {
    if (name.size() > 100 || archive.size() + content.size() > kMostBytes)
      return fail(ErrorCode::unsupported, name + ": too long for the bundle");
    archive += header_of(name, content.size()) + content;
    archive.resize((archive.size() + kBlock - 1) / kBlock * kBlock);
  }
  archive.resize(archive.size() + 2 * kBlock);
  Bytes packed(ZSTD_compressBound(archive.size()));
  const auto size = ZSTD_compress(packed.data(), packed.size(), archive.data(), archive.size(), 9);
  if (ZSTD_isError(size) != 0)
    return fail(ErrorCode::internal, "compressing the bundle: " + std::string(ZSTD_getErrorName(size)));
  packed.resize(size);
  return packed;
}

Result<void> write_bundle(const std::string& path, const BundleFiles& files) {
  RS_TRY(auto bytes, make_bundle(files));
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0)
    return fail(errno == EEXIST ? ErrorCode::exists : ErrorCode::io, path + ": " + std::strerror(errno));
  for (std::size_t done = 0; done < bytes.size();) {
    const auto written = ::write(file, bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const auto failure = fail(ErrorCode::io, path + ": " + std::strerror(errno));
      ::close(file);
      ::unlink(path.c_str());
      return failure;
    }
    done += static_cast<std::size_t>(written);
  }
  if (::close(file) != 0) return fail(ErrorCode::io, path + ": " + std::strerror(errno));
  return {};
}

}  // namespace roamstead::doctor
