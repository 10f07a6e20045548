// stripe-stateful-mock on a free port of the loopback interface, until standard input ends: with its parent, however that
// ends. Its argument is where it is installed.

const from = (name) => require(require.resolve(name, { paths: [process.argv[2]] }));
from('loglevel').disableAll(); // what it refuses is told to whoever asked
const { createExpressApp } = from('stripe-stateful-mock');
const server = createExpressApp().listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
