// A program that cannot start without a library beside it. Its exit status is what the library says.
extern "C" __declspec(dllimport) int imported_number();
int main() { return imported_number(); }
