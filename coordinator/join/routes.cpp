#include "coordinator/join/routes.h"

#include <algorithm>

namespace roamstead::join {
namespace {

constexpr const char* kJoinUnit = "domain-join";

std::string component(std::string_view name, const std::string& architecture) {
  return "    <component name=\"" + std::string(name) + "\" processorArchitecture=\"" + architecture +
         "\" publicKeyToken=\"31bf3856ad364e35\" language=\"neutral\" versionScope=\"nonSxS\">\n";
}

void append(Bytes& bytes, std::string_view text) {
  const auto view = as_bytes(text);
  bytes.insert(bytes.end(), view.begin(), view.end());
}

}  // namespace

Result<compose::FileEdit> unattend_join_file(const OdjBlob& blob, std::string_view architecture,
                                             bool unattend_exists) {
  if (unattend_exists)
    return fail(ErrorCode::exists,
                std::string(kUnattendPath) +
                    ": the image has an answer file of its own; remove it from the image and "
                    "put what it did into the pool's specification, or join by another route");
  std::string machine(architecture);
  std::transform(machine.begin(), machine.end(), machine.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (machine != "amd64" && machine != "x86" && machine != "arm64")
    return fail(ErrorCode::unsupported, "no answer file for the architecture \"" + machine + "\"");
  RS_TRY(const auto account, write_account_data(blob));
  compose::FileEdit file;
  file.path = kUnattendPath;
  file.secret = true;
  file.unit = kJoinUnit;
  // The name is checked to be letters, digits and hyphens, base64 has none of XML's characters.
  append(file.content,
         "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
         "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\n"
         "  <settings pass=\"specialize\">\n" +
             component("Microsoft-Windows-Shell-Setup", machine) + "      <ComputerName>" +
             blob.membership.machine_name +
             "</ComputerName>\n"
             "    </component>\n" +
             component("Microsoft-Windows-UnattendedJoin", machine) +
             "      <Identification>\n"
             "        <Provisioning>\n"
             "          <AccountData>");
  file.content.insert(file.content.end(), account.begin(), account.end());
  append(file.content,
         "</AccountData>\n"
         "        </Provisioning>\n"
         "      </Identification>\n"
         "    </component>\n"
         "  </settings>\n"
         "</unattend>\n");
  return file;
}

Result<compose::FileEdit> runonce_blob_file(const OdjBlob& blob, const std::string& first_boot_folder) {
  RS_TRY(const auto bytes, write_odj_file(blob));
  compose::FileEdit file;
  file.path = first_boot_folder + kRunonceBlobName;
  file.content = to_bytes(ByteView(bytes));
  file.secret = true;
  file.unit = kJoinUnit;
  return file;
}

std::string runonce_join_script() {
  return "@echo off\r\n"
         "rem Joins the domain with the account that was made for this desktop.\r\n"
         "setlocal\r\n"
         "set blob=%~dp0..\\" +
         std::string(kRunonceBlobName) +
         "\r\n"
         "if not exist \"%blob%\" exit /b 0\r\n"
         "\"%SystemRoot%\\System32\\djoin.exe\" /requestodj /loadfile \"%blob%\" /windowspath "
         "\"%SystemRoot%\" "
         "/localos\r\n"
         "if errorlevel 1 exit /b %errorlevel%\r\n"
         "del /f /q \"%blob%\"\r\n"
         "exit /b " +
         std::to_string(kRestartWanted) + "\r\n";
}

}  // namespace roamstead::join
